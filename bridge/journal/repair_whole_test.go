package journal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

// states are the states of all records, by sequence.
func states(t *testing.T, j *Journal) map[uint64]string {
	t.Helper()
	all := make(map[uint64]string)
	for e, err := range j.Newest(0) {
		if err != nil {
			t.Fatal(err)
		}
		body, err := j.Body(e.Seq)
		all[e.Seq] += fmt.Sprintf("%s key=%s place=%d body=%v", e.State, e.Key, e.StreamSeq, err == nil && len(body) > 0)
	}
	return all
}

// keySpace is all that a journal has. The next sequence is told by the records, too.
func keySpace(t *testing.T, j *Journal) map[string]string {
	t.Helper()
	all := make(map[string]string)
	it, err := j.newIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		all[string(it.Key())] = string(it.Value())
	}
	if err := it.Error(); err != nil {
		t.Fatal(err)
	}
	delete(all, string(metaNext.key()))
	return all
}

// differences are the keys of one journal that another has not, or has otherwise.
func differences(a, b map[string]string) (keys []string) {
	for key, value := range a {
		if other, ok := b[key]; !ok || other != value {
			keys = append(keys, fmt.Sprintf("%q", key))
		}
	}
	slices.Sort(keys)
	return keys
}

// Repair of a journal that is whole, at any moment of its life, gives the journal that it
// is, and has nothing to say.
func TestRepairOfAWholeJournalIsIdentity(t *testing.T) {
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 7))
		dir := t.TempDir()
		j, err := Open(Options{Dir: filepath.Join(dir, "j"), MaxBytes: 16 << 20})
		if err != nil {
			t.Fatal(err)
		}
		place := uint64(0)
		n := 0
		live := func(prefix byte) []uint64 {
			var seqs []uint64
			for e, err := range j.entries(prefix, 0) {
				if err != nil {
					t.Fatal(err)
				}
				seqs = append(seqs, e.seq)
			}
			return seqs
		}
		for range 150 {
			switch random.IntN(10) {
			case 0, 1, 2:
				var group sync.WaitGroup
				for range random.IntN(60) {
					n++
					r := record(n)
					r.Body = bytes.Repeat([]byte{byte(random.IntN(255) + 1)}, random.IntN(12000)+1)
					for i := range r.Body {
						if i%16 == 0 {
							r.Body[i] = byte(random.Uint32()) | 1
						}
					}
					if random.IntN(5) == 0 {
						r.Dead = &Death{At: time.Now(), Reason: "born"}
					}
					group.Go(func() { _, _ = j.Append(t.Context(), r) })
				}
				group.Wait()
			case 3, 4:
				var marks []Mark
				for _, seq := range live(prefixPending) {
					if random.IntN(2) == 0 {
						item, _, err := j.Load(seq)
						if err != nil {
							t.Fatal(err)
						}
						place++
						marks = append(marks, Mark{Item: item, StreamSeq: place, At: time.Now()})
					}
				}
				_, _ = j.MarkPublished(marks)
			case 5:
				for _, seq := range live(prefixPending) {
					if random.IntN(10) == 0 {
						item, _, _ := j.Load(seq)
						_ = j.MarkDead(item, Death{At: time.Now(), Reason: "x"})
					}
				}
			case 6:
				for _, seq := range live(prefixDead) {
					d, _ := j.Dead(seq)
					switch random.IntN(6) {
					case 0:
						_ = j.Requeue([]Item{d.Item})
					case 1:
						_ = j.Discard([]DeadItem{d})
					}
				}
			case 7:
				if place > 5 {
					from := place - uint64(random.IntN(5))
					_, _ = j.Unpublish(from, func(Item) {})
					place = from - 1
				}
				if random.IntN(8) == 0 {
					_ = j.ReplaceStream(fmt.Sprint("stream ", n))
					place = 0
				}
				for _, seq := range live(prefixDead) {
					if d, _ := j.Dead(seq); random.IntN(8) == 0 {
						_ = j.Forget([]Item{d.Item})
					}
				}
			case 8:
				if random.IntN(3) == 0 {
					_ = j.Flush()
				} else if random.IntN(3) == 0 {
					_, _, _ = j.DropPublished(int64(random.IntN(100000)))
				} else if random.IntN(4) == 0 {
					_, _ = j.Trim(time.Now().Add(-time.Millisecond*time.Duration(random.IntN(300))), time.Now().Add(-time.Millisecond*time.Duration(random.IntN(300))))
				}
			case 9:
				if random.IntN(4) == 0 {
					if err := j.Close(); err != nil {
						t.Fatal(err)
					}
					if j, err = Open(Options{Dir: filepath.Join(dir, "j"), MaxBytes: 16 << 20}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		_ = j.Sync()
		time.Sleep(20 * time.Millisecond)
		image := filepath.Join(dir, "image")
		if err := os.CopyFS(image, os.DirFS(filepath.Join(dir, "j"))); err != nil {
			t.Logf("seed %d: copy: %v", seed, err)
			_ = j.Close()
			continue
		}
		want, wantKeys, wantNext := states(t, j), keySpace(t, j), j.Next()
		replays, _ := metaReplays.number(j)
		_ = j.Close()
		report, err := Repair(image, filepath.Join(dir, "fixed"), zap.NewNop())
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			continue
		}
		k, err := Open(Options{Dir: filepath.Join(dir, "fixed")})
		if err != nil {
			t.Fatal(err)
		}
		got := states(t, k)
		r2, _ := metaReplays.number(k)
		if replays != r2 {
			t.Errorf("seed %d: replays %d, was %d", seed, r2, replays)
		}
		if len(report.Lost) > 0 || len(report.Damaged) > 0 || len(report.Notes) > 0 {
			t.Errorf("seed %d: report of a whole journal: lost %v damaged %d notes %v", seed, report.Lost, len(report.Damaged), report.Notes)
		}
		differ := 0
		for seq, s := range want {
			if got[seq] != s {
				if differ++; differ < 4 {
					t.Errorf("seed %d: record %d was %q, is %q", seed, seq, s, got[seq])
				}
			}
		}
		for seq, s := range got {
			if want[seq] == "" {
				if differ++; differ < 4 {
					t.Errorf("seed %d: record %d was not there, is %q", seed, seq, s)
				}
			}
		}
		if differ > 0 {
			t.Errorf("seed %d: %d of %d differ", seed, differ, len(want))
		}
		if k.Next() != wantNext {
			t.Errorf("seed %d: the next sequence was %d, is %d", seed, wantNext, k.Next())
		}
		gotKeys := keySpace(t, k)
		if lost, new := differences(wantKeys, gotKeys), differences(gotKeys, wantKeys); len(lost)+len(new) > 0 {
			t.Errorf("seed %d: keys that are lost or changed: %.500q; keys that are new or changed: %.500q", seed, lost, new)
		}
		_ = k.Close()
	}
}

// A log file that was used before has, behind its end, marks of its former life. They
// must not make unpublished (healed) records published again.
func TestRepairTakesNoMarksOfAFormerLog(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	for filler := 1000; filler < 400_000; filler += 70_000 {
		dir := t.TempDir()
		j, err := Open(Options{Dir: filepath.Join(dir, "j"), MaxBytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		appendOne(t, j, Record{Key: "f0", Header: []byte("h"), Body: noise(100)})
		if err := j.Flush(); err != nil { // the log after this one is the first that can be used again
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for n := range 600 {
			group.Go(func() { appendOne(t, j, record(n)) })
		}
		group.Wait()
		markPublished(t, j, pending(t, j)...) // "acknowledged"
		_ = j.Sync()
		for i := range 2 {
			if err := j.Flush(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			if i == 0 {
				appendOne(t, j, Record{Key: "f1", Header: []byte("h"), Body: noise(100)})
			}
		}
		appendOne(t, j, Record{Key: "f2", Header: []byte("h"), Body: noise(filler)})
		if _, err := j.Unpublish(1002, func(Item) {}); err != nil { // the stream lost them
			t.Fatal(err)
		}
		want := len(pending(t, j))
		image := filepath.Join(dir, "image") // kill -9
		if err := os.CopyFS(image, os.DirFS(filepath.Join(dir, "j"))); err != nil {
			t.Fatal(err)
		}
		_ = j.Close()
		plain := filepath.Join(dir, "plain")
		if err := os.CopyFS(plain, os.DirFS(image)); err != nil {
			t.Fatal(err)
		}
		o, err := Open(Options{Dir: plain})
		if err != nil {
			t.Fatal(err)
		}
		opened := len(pending(t, o))
		_ = o.Close()
		report, err := Repair(image, filepath.Join(dir, "fixed"), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		k, err := Open(Options{Dir: filepath.Join(dir, "fixed")})
		if err != nil {
			t.Fatal(err)
		}
		got := len(pending(t, k))
		_ = k.Close()
		if got != want {
			t.Errorf("filler %d: %d pending (Open of the same files finds %d), after repair %d: the rest counts as published, and the stream does not have it; report %+v", filler, want, opened, got, report)
			break
		}
	}
}
