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

	"github.com/persat-bridge/persat-bridge/internal/testwait"
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
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			repairIsIdentity(t, seed)
		})
	}
}

func repairIsIdentity(t *testing.T, seed uint64) {
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
			for range random.IntN(30) {
				n++
				r := record(n)
				r.Body = bytes.Repeat([]byte{byte(random.IntN(255) + 1)}, random.IntN(24000)+1)
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
	copyOpen(t, j, filepath.Join(dir, "j"), image)
	want, wantKeys, wantNext := states(t, j), keySpace(t, j), j.Next()
	replays, _ := metaReplays.number(j)
	_ = j.Close()
	report, err := Repair(image, filepath.Join(dir, "fixed"), zap.NewNop())
	if err != nil {
		t.Errorf("%v", err)
		return
	}
	k, err := Open(Options{Dir: filepath.Join(dir, "fixed")})
	if err != nil {
		t.Fatal(err)
	}
	got := states(t, k)
	r2, _ := metaReplays.number(k)
	if replays != r2 {
		t.Errorf("replays %d, was %d", r2, replays)
	}
	if len(report.Lost) > 0 || len(report.Damaged) > 0 || len(report.Notes) > 0 {
		t.Errorf("report of a whole journal: lost %v damaged %d notes %v", report.Lost, len(report.Damaged), report.Notes)
	}
	differ := 0
	for seq, s := range want {
		if got[seq] != s {
			if differ++; differ < 4 {
				t.Errorf("record %d was %q, is %q", seq, s, got[seq])
			}
		}
	}
	for seq, s := range got {
		if want[seq] == "" {
			if differ++; differ < 4 {
				t.Errorf("record %d was not there, is %q", seq, s)
			}
		}
	}
	if differ > 0 {
		t.Errorf("%d of %d differ", differ, len(want))
	}
	if k.Next() != wantNext {
		t.Errorf("the next sequence was %d, is %d", wantNext, k.Next())
	}
	gotKeys := keySpace(t, k)
	if lost, new := differences(wantKeys, gotKeys), differences(gotKeys, wantKeys); len(lost)+len(new) > 0 {
		t.Errorf("keys that are lost or changed: %.500q; keys that are new or changed: %.500q", lost, new)
	}
	_ = k.Close()
}

// copyOpen copies the files of an open journal as a kill would leave them: at a time at
// which no table is half written.
func copyOpen(t *testing.T, j *Journal, from, to string) {
	t.Helper()
	testwait.Eventually(t, "a copy of the journal while it writes no table", func() bool {
		before, idle := tablesWritten(j)
		copied := os.RemoveAll(to) == nil && os.CopyFS(to, os.DirFS(from)) == nil
		after, still := tablesWritten(j)
		return copied && idle && still && before == after
	})
}

// tablesWritten is how often the store has written tables, and that it writes none now.
func tablesWritten(j *Journal) (n int64, idle bool) {
	m := j.db.Metrics()
	return m.Flush.Count + m.Compact.Count, m.Flush.NumInProgress == 0 && m.Compact.NumInProgress == 0
}

// The stream was made anew (ReplaceStream): the places in the one before are forgotten. Repair brings
// them back, and the next look at the stream takes them for a loss.
func TestRepairLeavesPlacesOfAFormerStream(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := open(t, dir)
	for n := 1; n <= 10; n++ {
		appendOne(t, j, record(n))
	}
	markPublished(t, j, 1, 2, 3, 4, 5, 6, 7, 8) // at 1001-1008 of the old stream
	if err := j.ReplaceStream("PERSAT 2"); err != nil {
		t.Fatal(err)
	}
	var marks []Mark
	for i, seq := range pending(t, j) {
		item, _, err := j.Load(seq)
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, Mark{Item: item, StreamSeq: uint64(i + 1), At: time.Now()}) // 1 and 2 of the new
	}
	if _, err := j.MarkPublished(marks); err != nil {
		t.Fatal(err)
	}
	before, _, _ := j.LastPosition()
	closeJournal(t, j)
	if _, err := Repair(dir, dir+"-r", nil); err != nil {
		t.Fatal(err)
	}
	k := open(t, dir+"-r")
	after, _, _ := k.LastPosition()
	if before != after {
		t.Errorf("last place before repair %+v, after %+v: of a stream that is no more", before, after)
	}
}

func TestRepairKeepsWhatWasNoted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := open(t, dir)
	markPublished(t, j, appendOne(t, j, record(1)).Seq)
	if err := j.NoteRollback(1001); err != nil {
		t.Fatal(err)
	}
	if err := j.NoteUnfilled(time.Now().Add(-time.Hour), time.Now()); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	if _, err := Repair(dir, dir+"-r", nil); err != nil {
		t.Fatal(err)
	}
	k := open(t, dir+"-r")
	if lost, _ := k.RollbackNoted(); lost != 1001 {
		t.Errorf("the noted loss is %d after repair, want 1001: it is never healed", lost)
	}
	if _, _, ok, _ := k.Unfilled(); !ok {
		t.Error("the notice of a stream made anew is gone after repair")
	}
}

func TestRepairOfAWholeJournalLosesNothing(t *testing.T) {
	dir, _ := damagedJournal(t, 100)
	to := dir + "-repaired"
	report, err := Repair(dir, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	if report.Pending != 96 || report.Published != 3 || report.Dead != 1 || len(report.Lost)+len(report.Damaged)+len(report.Notes) > 0 {
		t.Errorf("got %+v, want 96 pending, 3 published, 1 dead and nothing lost", report)
	}
	j := open(t, to)
	if got := appendOne(t, j, record(5)); got.Status == Stored {
		t.Errorf("a key is forgotten: %+v", got)
	}
	if last, ok, err := j.LastPosition(); err != nil || !ok || last.StreamSeq != 1003 {
		t.Errorf("last place: got %+v %v %v, want 1003", last, ok, err)
	}
}

func TestRepairOfAnOpenJournalIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Repair(dir, dir+"-repaired", nil); err == nil {
		t.Error("got no error")
	}
}
