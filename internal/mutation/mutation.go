// Package main applies deliberate faults to a copy of the tree, one at a time, and
// expects the simulations to fail: a simulation that passes over a broken program proves
// nothing. `make mutations` runs it.
//
// The faults are data, next to the simulation that has to catch them, in files named
// testdata/mutations.txt:
//
//	# A comment.
//	run: -run ^TestSimulation$ ./bridge/schedule
//
//	mutation: the in-flight limit is dropped
//	why: more attempts than the window would be under way
//	file: bridge/schedule/scheduler.go
//	-	for s.inFlight < s.o.Window && len(s.ready) > 0 {
//	+	for len(s.ready) > 0 {
//
// run is the arguments of `go test` for all mutations below it. The lines of a mutation
// are those of a diff: '-' is taken out, '+' is put in, a blank stands before a line that
// stays. The lines that are taken out and those that stay have to be found in the file
// exactly once; a mutation whose text is not found is a mistake, and
// TestMutationsApply finds it in every `go test`.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Mutation is one deliberate fault.
type Mutation struct {
	Name string
	Why  string
	File string   // below the root of the tree
	Run  []string // arguments of go test that have to fail
	Old  string
	New  string
	At   string // file and line where it is listed
}

// Apply returns the source with the fault in it.
func (m *Mutation) Apply(source []byte) ([]byte, error) {
	old := []byte("\n" + m.Old)
	padded := append([]byte("\n"), source...)
	if n := bytes.Count(padded, old); n != 1 {
		return nil, fmt.Errorf("%s: mutation %q: its text is in %s %d times, not once: write it anew", m.At, m.Name, m.File, n)
	}
	return bytes.Replace(padded, old, []byte("\n"+m.New), 1)[1:], nil
}

// Find reads all mutations that are listed below root.
func Find(root string) ([]Mutation, error) {
	var found []Mutation
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && skipped(d.Name()) {
			return filepath.SkipDir
		}
		if d.IsDir() || d.Name() != "mutations.txt" || filepath.Base(filepath.Dir(path)) != "testdata" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		mutations, err := parse(name, text)
		found = append(found, mutations...)
		return err
	})
	return found, err
}

// skipped says whether a directory has nothing that a build or a test needs.
func skipped(name string) bool {
	return name == ".git" || name == "bin" || name == "artefacts" || name == "data"
}

func parse(name string, text []byte) ([]Mutation, error) {
	var found []Mutation
	var mistakes []error
	var run []string
	var now *Mutation
	var before, after []string
	end := func() {
		if now == nil {
			return
		}
		for _, line := range before {
			now.Old += line + "\n"
		}
		for _, line := range after {
			now.New += line + "\n"
		}
		if now.File == "" || now.Why == "" || len(now.Run) == 0 || now.Old == now.New || now.Old == "" {
			mistakes = append(mistakes, fmt.Errorf("%s: mutation %q needs a run line above it, why, file and a change", now.At, now.Name))
		}
		found = append(found, *now)
		now, before, after = nil, nil, nil
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		at := fmt.Sprintf("%s:%d", name, number)
		key, value, isPair := strings.Cut(line, ": ")
		switch {
		case line == "":
			end()
		case strings.HasPrefix(line, "#"):
		case isPair && key == "run":
			end()
			run = strings.Fields(value)
		case isPair && key == "mutation":
			end()
			now = &Mutation{Name: value, Run: run, At: at}
			if slices.ContainsFunc(found, func(m Mutation) bool { return m.Name == value }) {
				mistakes = append(mistakes, fmt.Errorf("%s: there are two mutations %q", at, value))
			}
		case now == nil:
			mistakes = append(mistakes, fmt.Errorf("%s: a line outside of any mutation", at))
		case isPair && key == "why":
			now.Why = value
		case isPair && key == "file":
			now.File = value
		case line[0] == '-':
			before = append(before, line[1:])
		case line[0] == '+':
			after = append(after, line[1:])
		case line[0] == ' ':
			before, after = append(before, line[1:]), append(after, line[1:])
		default:
			mistakes = append(mistakes, fmt.Errorf("%s: a line of a mutation begins with '-', '+', a blank, or the words why: and file: in front", at))
		}
	}
	end()
	return found, errors.Join(append(mistakes, lines.Err())...)
}
