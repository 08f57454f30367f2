package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
)

// An id is used again after its window, in the moment in which Trim forgets its first use.
func TestAttackTrimForgetsAKeyTakenMeanwhile(t *testing.T) {
	for round := range 20 {
		var offset atomic.Int64
		j := open(t, filepath.Join(t.TempDir(), fmt.Sprint(round)), func(o *Options) {
			o.DedupWindow = time.Hour
			o.now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		})
		const n = 4000
		var marks []Mark
		for i := range n {
			j.appends <- func() *appendRequest {
				q := requestPool.Get().(*appendRequest)
				r := record(i)
				q.record, q.digest = r, digest(r.Body)
				return q
			}()
		}
		for j.Next() <= n {
			time.Sleep(time.Millisecond)
		}
		for item, err := range j.AllPending() {
			if err != nil {
				t.Fatal(err)
			}
			marks = append(marks, Mark{Item: item.Clone(), StreamSeq: item.Seq, At: time.Now()})
		}
		if err := j.MarkPublished(marks); err != nil {
			t.Fatal(err)
		}
		offset.Store(int64(2 * time.Hour))
		done := make(chan error, 1)
		go func() {
			past := j.o.now().Add(-time.Hour)
			_, err := j.Trim(past, past)
			done <- err
		}()
		// The sender sends one of two hours ago again, and an hour's fraction later once more.
		time.Sleep(time.Duration(round) * time.Millisecond)
		first := appendOne(t, j, record(0))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		offset.Add(int64(time.Minute))
		again := appendOne(t, j, record(0))
		if first.Status == Stored && again.Status != Repeat {
			t.Fatalf("round %d: the id was stored as record %d; its repeat a minute later is %v as record %d, the window is an hour", round, first.Seq, again.Status, again.Seq)
		}
		closeJournal(t, j)
	}
}

// The last batch of the log, synced and answered, has a flipped byte.
func TestAttackRepairOfTheLastBatch(t *testing.T) {
	for _, what := range []string{"header", "body"} {
		dir := filepath.Join(t.TempDir(), "journal")
		j := open(t, dir)
		for i := range 10 {
			appendOne(t, j, record(i))
		}
		closeJournal(t, j)
		name := bySize(t, dir, "*.log")[0].name
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.LastIndex(b, []byte(what+" 9"))
		if at < 0 {
			t.Fatal("not in the log")
		}
		b[at] ^= 1
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if k, err := Open(Options{Dir: dir}); err == nil {
			t.Logf("%s: opens without a word, %d pending, next %d", what, len(pending(t, k)), k.Next())
			closeJournal(t, k)
			os.WriteFile(name, b, 0o600)
		} else {
			t.Logf("%s: %v", what, err)
		}
		to := filepath.Join(t.TempDir(), "new")
		report, err := Repair(dir, to, zap.NewNop())
		t.Logf("%s: %+v %v", what, report, err)
	}
}

func TestAttackDiskBytes(t *testing.T) {
	j := open(t, t.TempDir())
	for i := range 10 {
		r := record(i)
		r.Body = make([]byte, 1<<20)
		appendOne(t, j, r)
	}
	t.Logf("disk bytes with 10 MiB in the log: %d; tables %d", j.DiskBytes(), j.db.Metrics().Table.Local.LiveSize)
}
