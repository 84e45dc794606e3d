package main

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const textLinesMin = 3 // origin, size, root; extension lines may follow

// checkpoint is what a log signed: so many entries have this root.
type checkpoint struct {
	origin string
	tree   tlog.Tree
}

func (c checkpoint) String() string {
	return fmt.Sprintf("%s %d %s", c.origin, c.tree.N, c.tree.Hash)
}

func readCheckpoint(by trust, file string) (checkpoint, error) {
	signed, err := readFile(file, checkpointBytesMax)
	if err != nil {
		return checkpoint{}, err
	}
	opened, err := openCheckpoint(by, signed)
	if err != nil {
		return checkpoint{}, fmt.Errorf("%s: %w", file, err)
	}
	return opened, nil
}

// openCheckpoint checks the signature and the form of a signed checkpoint (c2sp tlog-checkpoint).
func openCheckpoint(by trust, signed []byte) (checkpoint, error) {
	opened, err := note.Open(signed, by.verifiers)
	if err != nil {
		return checkpoint{}, err
	}
	// note.Open lets the unused bits at the end of base64 be anything; here one note has one form.
	for _, signatures := range [][]note.Signature{opened.Sigs, opened.UnverifiedSigs} {
		for _, signature := range signatures {
			if _, err := base64.StdEncoding.Strict().DecodeString(signature.Base64); err != nil {
				return checkpoint{}, fmt.Errorf("signature by %s: %w", signature.Name, err)
			}
		}
	}
	text, ended := strings.CutSuffix(opened.Text, "\n")
	lines := strings.Split(text, "\n")
	if !ended || len(lines) < textLinesMin {
		return checkpoint{}, fmt.Errorf("a checkpoint has %d lines, this has %d", textLinesMin, len(lines))
	}
	for number, line := range lines {
		if line == "" {
			return checkpoint{}, fmt.Errorf("line %d of the checkpoint is empty", number+1)
		}
	}
	if lines[0] != by.origin {
		return checkpoint{}, fmt.Errorf("the checkpoint is of the log %q, not of %q", lines[0], by.origin)
	}
	size, err := parseDecimal(lines[1])
	if err != nil {
		return checkpoint{}, fmt.Errorf("size of the checkpoint: %w", err)
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return checkpoint{}, fmt.Errorf("root of the checkpoint: %w", err)
	}
	return checkpoint{lines[0], tlog.Tree{N: size, Hash: root}}, nil
}

// parseDecimal reads digits without sign or leading zeros.
func parseDecimal(text string) (int64, error) {
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil || number < 0 || strconv.FormatInt(number, 10) != text {
		return 0, fmt.Errorf("%q is no decimal number without sign and leading zeros", text)
	}
	return number, nil
}

// parseHash reads a SHA-256 in base64; one hash has one form.
func parseHash(text string) (tlog.Hash, error) {
	hash, err := tlog.ParseHash(text)
	if err != nil || hash.String() != text {
		return tlog.Hash{}, fmt.Errorf("%q is no SHA-256 in base64", text)
	}
	return hash, nil
}
