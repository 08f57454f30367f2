package journal

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A damaged byte in the index of a table cost every record in it, though the bodies were in
// another one.
func TestRepairCorrectsADamagedByteOfATable(t *testing.T) {
	t.Parallel()
	const n = 300
	dir := filepath.Join(t.TempDir(), "journal")
	j := open(t, dir)
	random := rand.NewChaCha8([32]byte{})
	var group sync.WaitGroup
	for i := range n {
		r := record(i)
		r.Body = make([]byte, 500)
		random.Read(r.Body)
		group.Go(func() { appendOne(t, j, r) })
	}
	group.Wait()
	markPublished(t, j, 1, 2, 3)
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	want := keySpaceOf(t, dir)
	for _, table := range bySize(t, dir, "*.sst")[:2] { // one has the bodies, one the keys
		whole, err := os.ReadFile(table.name)
		if err != nil {
			t.Fatal(err)
		}
		file := tableFile{bytes: whole}
		index, ok := file.footer()
		if !ok {
			t.Fatalf("%s has no footer", table.name)
		}
		file.correct()
		if len(file.corrected) > 0 {
			t.Errorf("bytes %v of a whole table are corrected", file.corrected)
		}
		at := map[string]int{"index": int(index.Offset + index.Length/2), "index, its checksum's kind": int(index.Offset + index.Length), "first byte": 0}
		for _, h := range file.known {
			if h.Offset > index.Offset {
				at[fmt.Sprintf("block at %d", h.Offset)] = int(h.Offset + h.Length/3)
			}
		}
		for i := range 6 {
			at[fmt.Sprintf("part %d", i)] = len(whole) * (2*i + 1) / 13
		}
		for name, offset := range at {
			t.Run(fmt.Sprintf("%s of %s", name, filepath.Base(table.name)), func(t *testing.T) {
				image := filepath.Join(t.TempDir(), "image")
				if err := os.CopyFS(image, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				logs, _ := filepath.Glob(filepath.Join(image, "*.log"))
				for _, l := range logs { // what was flushed may still be in one
					if err := os.Remove(l); err != nil {
						t.Fatal(err)
					}
				}
				flipByte(t, filepath.Join(image, filepath.Base(table.name)), int64(offset))
				report, err := Repair(image, image+"-fixed", nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(report.Notes) == 0 || len(report.Lost)+len(report.Damaged)+len(report.Bodiless) > 0 {
					t.Errorf("report %+v", report)
				}
				got := keySpaceOf(t, image+"-fixed")
				if lost, new := differences(want, got), differences(got, want); len(lost)+len(new) > 0 {
					t.Errorf("keys that are lost or changed: %.300q; keys that are new or changed: %.300q", lost, new)
				}
			})
		}
	}
}

// keySpaceOf is the key space of a closed journal.
func keySpaceOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	j, err := Open(Options{Dir: dir, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer closeJournal(t, j)
	return keySpace(t, j)
}
