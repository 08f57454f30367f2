package journal

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// damagedJournal is a closed journal of n records in batches of several, some
// published and one dead, all of it still in the log.
func damagedJournal(t *testing.T, n int) (dir string, bodies map[uint64][]byte) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "journal")
	j := open(t, dir)
	bodies = make(map[uint64][]byte)
	var mu sync.Mutex
	var group sync.WaitGroup
	for sender := range 16 {
		group.Go(func() {
			for i := sender; i < n; i += 16 {
				r := record(i)
				r.Body = bytes.Repeat(fmt.Appendf(nil, `{"n":%d} `, i), 1+i%400) // some larger than a block has left
				result, err := j.Append(context.Background(), r)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				bodies[result.Seq] = r.Body
				mu.Unlock()
			}
		})
	}
	group.Wait()
	markPublished(t, j, 1, 2, 3)
	item, _, err := j.Load(4)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.MarkDead(item, Death{At: time.Now(), Reason: "too large"}); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	return dir, bodies
}

// largest is the largest file of a journal that has such a name.
type file struct {
	name string
	size int64
}

// bySize are the files of that pattern, the largest first.
func bySize(t *testing.T, dir, pattern string) []file {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	var files []file
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file{name, info.Size()})
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(b.size, a.size) })
	return files
}

func largest(t *testing.T, dir, pattern string) (name string, size int64) {
	t.Helper()
	f := bySize(t, dir, pattern)[0]
	return f.name, f.size
}

func flipByte(t *testing.T, name string, at int64) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x10
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRepairOfAFlippedByte: whatever single byte of the log is wrong, at most one
// record suffers, and the report names it.
func TestRepairOfAFlippedByte(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const n = 200
	original, bodies := damagedJournal(t, n)
	refused := 0
	for round := range 25 {
		dir := filepath.Join(t.TempDir(), "journal")
		if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
			t.Fatal(err)
		}
		name, size := largest(t, dir, "*.log")
		at := random.Int64N(size)
		if round == 0 {
			at = size / 2
		}
		flipByte(t, name, at)
		if j, err := Open(Options{Dir: dir}); err != nil {
			refused++
			if !strings.Contains(err.Error(), "journal repair") {
				t.Errorf("byte %d: the error does not say what to do: %v", at, err)
			}
		} else {
			if at < size/2 {
				t.Errorf("byte %d of %d: opened without a word, with %d of %d pending", at, size, len(pending(t, j)), n-4)
			}
			closeJournal(t, j)
			// It was opened, and so the log is gone: try on a fresh copy.
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
				t.Fatal(err)
			}
			flipByte(t, name, at)
		}
		to := dir + "-repaired"
		report, err := Repair(dir, to, nil)
		if err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		suffered := len(report.Damaged)
		for _, r := range report.Lost {
			suffered += int(r.Last - r.First + 1)
		}
		if saved := report.Pending + report.Published + report.Dead; suffered > 1 || saved+suffered-len(report.Damaged) != n {
			t.Errorf("byte %d: saved %d of %d, lost %v, damaged %v; %v", at, saved, n, report.Lost, report.Damaged, report.Notes)
		}
		j := open(t, to)
		for item, err := range j.AllPending() {
			if err != nil {
				t.Fatal(err)
			}
			if body, err := j.Body(item.Seq); err != nil || !bytes.Equal(body, bodies[item.Seq]) {
				t.Errorf("byte %d: record %d has other bytes (%v)", at, item.Seq, err)
			}
		}
		if got := appendOne(t, j, record(9999)).Seq; got <= n {
			t.Errorf("byte %d: next sequence is %d: it comes again", at, got)
		}
		closeJournal(t, j)
	}
	if refused == 0 {
		t.Error("no flipped byte was noticed when opening")
	}
	t.Logf("%d of 25 damaged journals were refused when opened", refused)
}

// A damaged block costs what is in it: of bodies these, of keys the records that they
// tell of. Either way the report accounts for every record.
func TestRepairOfADamagedTable(t *testing.T) {
	const n = 100
	for place, damage := range []string{"bodies", "keys"} { // tables have one or the other
		t.Run(damage, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "journal")
			j := open(t, dir)
			random := rand.NewChaCha8([32]byte{})
			for i := range n {
				r := record(i)
				r.Body = make([]byte, 2000)
				random.Read(r.Body)
				appendOne(t, j, r)
			}
			if err := j.Flush(); err != nil {
				t.Fatal(err)
			}
			closeJournal(t, j)
			tables := bySize(t, dir, "*.sst")
			flipByte(t, tables[place].name, tables[place].size/3)
			flipByte(t, tables[place].name, tables[place].size/3+2) // one alone is corrected
			// What was flushed may still be in a log that is no longer needed, and
			// repair would find it there.
			logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range logs {
				if err := os.Remove(l); err != nil {
					t.Fatal(err)
				}
			}
			report, err := Repair(dir, dir+"-repaired", nil)
			if err != nil {
				t.Fatal(err)
			}
			lost := 0
			for _, r := range report.Lost {
				lost += int(r.Last - r.First + 1)
			}
			t.Logf("pending %d, damaged %d, lost %v", report.Pending, len(report.Damaged), report.Lost)
			if (damage == "keys") != (lost > 0) || (damage == "bodies") != (len(report.Damaged) > 0) || report.Pending == 0 {
				t.Errorf("got %+v, want some records saved, and those suffer whose %s were damaged", report, damage)
			}
			if got := report.Pending + len(report.Damaged) + lost; got != n {
				t.Errorf("%d records are accounted for, want %d: %+v", got, n, report)
			}
		})
	}
}
