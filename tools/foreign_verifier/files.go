package main

import (
	"fmt"
	"io"
	"os"
)

// readFile reads a regular file that is no longer than it may be.
func readFile(path string, bytesMax int64) ([]byte, error) {
	about, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !about.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, bytesMax+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > bytesMax {
		return nil, fmt.Errorf("%s is longer than the %d bytes it may have", path, bytesMax)
	}
	return data, nil
}
