package main

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	proofName     = "c2sp.org/tlog-proof@v1"
	proofBytesMax = 1 << 20
	entryBytesMax = 1<<16 - 1
	proofHashMax  = 63
)

// checkProof says which checkpoint, and which place in its log, the entry is proven for.
func checkProof(by trust, proofFile, entryFile string) (string, error) {
	entry, err := readFile(entryFile, entryBytesMax)
	if err != nil {
		return "", err
	}
	text, err := readFile(proofFile, proofBytesMax)
	if err != nil {
		return "", err
	}
	index, proof, signed, err := parseProof(string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w", proofFile, err)
	}
	head, err := openCheckpoint(by, []byte(signed))
	if err != nil {
		return "", fmt.Errorf("%s: %w", proofFile, err)
	}
	if index >= head.tree.N {
		return "", fmt.Errorf("%s: index %d is not in a log of %d entries", proofFile, index, head.tree.N)
	}
	err = tlog.CheckRecord(proof, head.tree.N, head.tree.Hash, index, tlog.RecordHash(entry))
	if err != nil {
		return "", fmt.Errorf("%s: %s is not entry %d of the log (%w)", proofFile, entryFile, index, err)
	}
	return fmt.Sprintf("%s index %d", head, index), nil
}

// parseProof takes a tlog-proof apart: the index, the hashes, and the signed checkpoint. Extra data
// is read over: no signature covers it.
func parseProof(text string) (int64, tlog.RecordProof, string, error) {
	heading, signed, found := strings.Cut(text, "\n\n")
	if !found {
		return 0, nil, "", fmt.Errorf("no blank line parts the proof from its checkpoint")
	}
	lines := strings.Split(heading, "\n")
	if lines[0] != proofName {
		return 0, nil, "", fmt.Errorf("the first line is %q, not %q", lines[0], proofName)
	}
	lines = lines[1:]
	if len(lines) > 0 {
		if extra, has := strings.CutPrefix(lines[0], "extra "); has {
			if _, err := base64.StdEncoding.Strict().DecodeString(extra); err != nil {
				return 0, nil, "", fmt.Errorf("extra data: %w", err)
			}
			lines = lines[1:]
		}
	}
	if len(lines) == 0 {
		return 0, nil, "", fmt.Errorf("there is no index")
	}
	number, has := strings.CutPrefix(lines[0], "index ")
	if !has {
		return 0, nil, "", fmt.Errorf("%q is where the index has to be", lines[0])
	}
	index, err := parseDecimal(number)
	if err != nil {
		return 0, nil, "", fmt.Errorf("index: %w", err)
	}
	lines = lines[1:]
	if len(lines) > proofHashMax {
		return 0, nil, "", fmt.Errorf("%d hashes are more than any proof has", len(lines))
	}
	proof := make(tlog.RecordProof, len(lines))
	for i, line := range lines {
		if proof[i], err = parseHash(line); err != nil {
			return 0, nil, "", fmt.Errorf("hash %d of the proof: %w", i, err)
		}
	}
	return index, proof, signed, nil
}
