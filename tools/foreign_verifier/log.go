package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight     = 8 // c2sp tlog-tiles
	tileWidth      = 1 << tileHeight
	entryLevel     = -1 // tlog's level of a tile that holds the records themselves
	lengthBytes    = 2
	tileBytesMax   = tileWidth * tlog.HashSize
	bundleBytesMax = tileWidth * (lengthBytes + 1<<16 - 1)
)

// storedHashes are in the order of tlog.StoredHashIndex.
type storedHashes []tlog.Hash

func (s storedHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 || index >= int64(len(s)) {
			return nil, fmt.Errorf("hash %d is not among the %d of the log", index, len(s))
		}
		hashes[i] = s[index]
	}
	return hashes, nil
}

// checkLog says which checkpoint the folder holds, once all of it bears that checkpoint out:
// every entry, every hash tile, and each older checkpoint.
func checkLog(by trust, folder string, olderFiles []string) (string, error) {
	current, err := readCheckpoint(by, filepath.Join(folder, "checkpoint"))
	if err != nil {
		return "", err
	}
	hashes, err := hashEntries(folder, current.tree.N)
	if err != nil {
		return "", err
	}
	root, err := tlog.TreeHash(current.tree.N, hashes)
	if err != nil {
		return "", err
	}
	if root != current.tree.Hash {
		return "", fmt.Errorf("the %d entries have the root %s, the checkpoint says %s%s",
			current.tree.N, root, current.tree.Hash, whichEntry(folder, current.tree.N, hashes))
	}
	for _, tile := range tlog.NewTiles(tileHeight, 0, current.tree.N) {
		if err := checkTile(folder, tile, hashes); err != nil {
			return "", err
		}
	}
	if err := checkOthers(folder, current.tree.N, hashes); err != nil {
		return "", err
	}
	for _, file := range olderFiles {
		if err := checkOlder(by, file, current, hashes); err != nil {
			return "", err
		}
	}
	return current.String(), nil
}

// hashEntries reads the entries that a log of this size has, and hashes them.
func hashEntries(folder string, size int64) (storedHashes, error) {
	var hashes storedHashes
	for start := int64(0); start < size; start += tileWidth {
		tile := entryTile(start/tileWidth, int(min(size-start, tileWidth)))
		entries, err := readBundle(folder, tile)
		if err != nil {
			return nil, fmt.Errorf("%w (the checkpoint says %d entries)", err, size)
		}
		for i, entry := range entries {
			more, err := tlog.StoredHashes(start+int64(i), entry, hashes)
			if err != nil {
				return nil, err
			}
			hashes = append(hashes, more...)
		}
	}
	return hashes, nil
}

func entryTile(number int64, width int) tlog.Tile {
	return tlog.Tile{H: tileHeight, L: entryLevel, N: number, W: width}
}

// readBundle reads a bundle's entries, each behind its length in two bytes.
func readBundle(folder string, tile tlog.Tile) ([][]byte, error) {
	data, held, err := readTile(folder, tile, bundleBytesMax)
	if err != nil {
		return nil, err
	}
	entries := make([][]byte, 0, held.W)
	for len(data) > 0 {
		if len(data) < lengthBytes {
			return nil, fmt.Errorf("%s ends within the length of entry %d", pathOf(held), len(entries))
		}
		length := int(binary.BigEndian.Uint16(data))
		data = data[lengthBytes:]
		if len(data) < length {
			return nil, fmt.Errorf("%s ends within entry %d", pathOf(held), len(entries))
		}
		entries = append(entries, data[:length])
		data = data[length:]
	}
	if len(entries) != held.W {
		return nil, fmt.Errorf("%s has %d entries, not %d", pathOf(held), len(entries), held.W)
	}
	return entries[:tile.W], nil
}

// readTile reads a tile's file. A partial tile may be gone once the full one is there: then that
// is read, and the second value says so.
func readTile(folder string, tile tlog.Tile, bytesMax int64) ([]byte, tlog.Tile, error) {
	data, err := readFile(filepath.Join(folder, pathOf(tile)), bytesMax)
	if tile.W < tileWidth && errors.Is(err, fs.ErrNotExist) {
		full := tile
		full.W = tileWidth
		if data, errFull := readFile(filepath.Join(folder, pathOf(full)), bytesMax); errFull == nil {
			return data, full, nil
		}
	}
	return data, tile, err
}

// checkTile compares a tile of hashes with those that follow from the entries.
func checkTile(folder string, tile tlog.Tile, hashes storedHashes) error {
	data, held, err := readTile(folder, tile, tileBytesMax)
	if err != nil {
		return err
	}
	if len(data) != held.W*tlog.HashSize {
		return fmt.Errorf("%s has %d bytes, not %d", pathOf(held), len(data), held.W*tlog.HashSize)
	}
	expected, err := tlog.ReadTileData(tile, hashes)
	if err != nil {
		return err
	}
	if place := firstDifference(data[:len(expected)], expected); place >= 0 {
		return fmt.Errorf("hash %d of %s is not the one of the entries", place, pathOf(held))
	}
	return nil
}

// checkOthers looks at the files that the checkpoint's size does not ask for: partial tiles of an
// earlier size that were left may not tell another story. What lies past the size is not yet the
// log's.
func checkOthers(folder string, size int64, hashes storedHashes) error {
	top := filepath.Join(folder, "tile")
	return filepath.WalkDir(top, func(path string, found fs.DirEntry, err error) error {
		if path == top && errors.Is(err, fs.ErrNotExist) {
			return nil // an empty log
		}
		if err != nil || found.IsDir() {
			return err
		}
		below, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		tile, known := tileAt(filepath.ToSlash(below))
		if !known || tile.W == tileWidth || !within(tile, size) {
			return nil // of the full ones each was asked for
		}
		if tile.L == entryLevel {
			return checkBundle(folder, tile, hashes)
		}
		return checkTile(folder, tile, hashes)
	})
}

func checkBundle(folder string, tile tlog.Tile, hashes storedHashes) error {
	entries, err := readBundle(folder, tile)
	if err != nil {
		return err
	}
	for i, entry := range entries {
		if tlog.RecordHash(entry) != hashes[tlog.StoredHashIndex(0, tile.N*tileWidth+int64(i))] {
			return fmt.Errorf("entry %d of %s is not the log's", i, pathOf(tile))
		}
	}
	return nil
}

// checkOlder proves that the log continues what an older checkpoint said.
func checkOlder(by trust, file string, current checkpoint, hashes storedHashes) error {
	older, err := readCheckpoint(by, file)
	if err != nil {
		return err
	}
	if older.tree.N > current.tree.N {
		return fmt.Errorf("the log has %d entries, and had %d by %s: its tail was cut",
			current.tree.N, older.tree.N, file)
	}
	if older.tree.N == 0 { // tlog proves nothing about an empty tree; each log continues one
		empty, err := tlog.TreeHash(0, hashes)
		if err != nil || empty != older.tree.Hash {
			return fmt.Errorf("%s: an empty log has the root %s, not %s", file, empty, older.tree.Hash)
		}
		return nil
	}
	proof, err := tlog.ProveTree(current.tree.N, older.tree.N, hashes)
	if err != nil {
		return err
	}
	err = tlog.CheckTree(proof, current.tree.N, current.tree.Hash, older.tree.N, older.tree.Hash)
	if err != nil {
		return fmt.Errorf("the log does not continue %s: its first %d entries are not those of then (%w)",
			file, older.tree.N, err)
	}
	return nil
}

// whichEntry adds to a refusal where entries and hash tiles part. It is a hint: tiles are not signed.
func whichEntry(folder string, size int64, hashes storedHashes) string {
	for start := int64(0); start < size; start += tileWidth {
		tile := tlog.Tile{H: tileHeight, N: start / tileWidth, W: int(min(size-start, tileWidth))}
		data, held, err := readTile(folder, tile, tileBytesMax)
		if err != nil {
			return fmt.Sprintf("; %v", err)
		}
		expected, err := tlog.ReadTileData(tile, hashes)
		if err != nil {
			return fmt.Sprintf("; %v", err)
		}
		if place := firstDifference(data, expected); place >= 0 {
			return fmt.Sprintf("; entry %d is the first not to match %s", start+int64(place), pathOf(held))
		}
	}
	return "; the hash tiles match the entries"
}

// firstDifference tells which hash is the first to differ from the expected ones; -1: none.
func firstDifference(data, expected []byte) int {
	for i := 0; i < len(expected); i += tlog.HashSize {
		end := i + tlog.HashSize
		if end > len(data) || !bytes.Equal(data[i:end], expected[i:end]) {
			return i / tlog.HashSize
		}
	}
	return -1
}

// tlog's paths name the height, and call the entries' level "data"; those of tlog-tiles do not.
const (
	hashPrefix  = "tile/"
	entryPrefix = "tile/entries/"
	tlogPrefix  = "tile/8/"
	tlogData    = "tile/8/data/"
)

func pathOf(tile tlog.Tile) string {
	if tile.L == entryLevel {
		return entryPrefix + strings.TrimPrefix(tile.Path(), tlogData)
	}
	return hashPrefix + strings.TrimPrefix(tile.Path(), tlogPrefix)
}

func tileAt(path string) (tlog.Tile, bool) {
	translated := tlogPrefix + strings.TrimPrefix(path, hashPrefix)
	if strings.HasPrefix(path, entryPrefix) {
		translated = tlogData + strings.TrimPrefix(path, entryPrefix)
	}
	tile, err := tlog.ParseTilePath(translated)
	return tile, err == nil && pathOf(tile) == path
}

func within(tile tlog.Tile, size int64) bool {
	if tile.L > 0 {
		size >>= min(uint(tile.L)*tileHeight, 63)
	}
	// Compared by tiles first: a number from a file's name must not overflow.
	return tile.N < size/tileWidth || tile.N == size/tileWidth && int64(tile.W) <= size%tileWidth
}
