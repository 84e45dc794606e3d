// Command foreign-verifier checks a Strongroom log, or a proof from one, by code of others.
//
//	foreign-verifier -log FOLDER -key VKEYFILE [-older CHECKPOINTFILE]...
//	foreign-verifier -proof FILE -entry FILE -key VKEYFILE
//
// It shares nothing with Strongroom: notes, signatures, hashes and proofs are those of
// golang.org/x/mod/sumdb, which Go's checksum database rests on. So an auditor need not trust the
// code that wrote the log. The formats are those of c2sp.org: signed-note, tlog-checkpoint,
// tlog-tiles, tlog-proof.
//
// Exit status 0 and one line "accepted ORIGIN SIZE ROOT" on stdout: all that was asked for holds.
// Exit status 1 and one line "refused: WHY" on stderr: it does not. Exit status 2: wrong usage.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const (
	exitRefused = 1
	exitUsage   = 2

	keyBytesMax        = 1 << 12
	checkpointBytesMax = 1 << 20
)

type fileList []string

func (l *fileList) String() string { return strings.Join(*l, " ") }

func (l *fileList) Set(file string) error {
	*l = append(*l, file)
	return nil
}

func main() {
	var older fileList
	log := flag.String("log", "", "check the log in this `FOLDER` (layout of tlog-tiles)")
	proof := flag.String("proof", "", "check this `FILE` (tlog-proof) instead of a log")
	entry := flag.String("entry", "", "the `FILE` with the entry's bytes that the proof is about")
	key := flag.String("key", "", "the `VKEYFILE` with the log's public key")
	flag.Var(&older, "older", "a `CHECKPOINTFILE` that the log has to continue; may be repeated")
	flag.Parse()

	forLog := *log != "" && *proof == "" && *entry == ""
	forProof := *log == "" && *proof != "" && *entry != "" && len(older) == 0
	if *key == "" || flag.NArg() != 0 || !(forLog || forProof) {
		fmt.Fprintln(os.Stderr, "give -log and -key, or -proof, -entry and -key:")
		flag.PrintDefaults()
		os.Exit(exitUsage)
	}

	accepted, err := check(*key, *log, older, *proof, *entry)
	if err != nil {
		// An error may quote what it read; what is said stays one line.
		fmt.Fprintln(os.Stderr, "refused:", strings.Join(strings.Fields(err.Error()), " "))
		os.Exit(exitRefused)
	}
	fmt.Println("accepted", accepted)
}

// check opens the key and looks at a log, or at a proof where no folder is named.
func check(key, log string, older []string, proof, entry string) (string, error) {
	trusted, err := trustedKey(key)
	if err != nil {
		return "", err
	}
	if log == "" {
		return checkProof(trusted, proof, entry)
	}
	return checkLog(trusted, log, older)
}

// trust says whose signature counts, and for which log: the one that the key is named after. A key
// may sign for many logs; without its name, one of them could pass for another.
type trust struct {
	verifiers note.Verifiers
	origin    string
}

func trustedKey(file string) (trust, error) {
	text, err := readFile(file, keyBytesMax)
	if err != nil {
		return trust{}, err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(text)))
	if err != nil {
		return trust{}, fmt.Errorf("key %s: %w", file, err)
	}
	return trust{note.VerifierList(verifier), verifier.Name()}, nil
}
