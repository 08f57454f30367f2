package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

// logBatches are the whole batches of a closed journal's logs, in order.
type logBatch struct {
	file   string
	offset int // of its first chunk
	data   []byte
}

func logBatches(t *testing.T, dir string) (batches []logBatch) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		number, err := logNumber(filepath.Base(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range readLog(file, number) {
			if r.whole && len(r.data) > 12 {
				batches = append(batches, logBatch{filepath.Base(name), r.offset, r.data})
			}
		}
	}
	return batches
}

// repairDamaged repairs a copy of a journal in which one byte is wrong.
func repairDamaged(t *testing.T, dir, file string, at int) (*Journal, Report) {
	t.Helper()
	scratch := t.TempDir()
	image, fixed := filepath.Join(scratch, "image"), filepath.Join(scratch, "fixed")
	if err := os.CopyFS(image, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	flipByte(t, filepath.Join(image, file), int64(at))
	report, err := Repair(image, fixed, zap.NewNop())
	if err != nil {
		t.Fatalf("%s, byte %d: %v", file, at, err)
	}
	return open(t, fixed), report
}

// lived is a closed journal with everything in its log that can happen to a record: batches
// of appends, marks, a dead letter that is requeued and one that is discarded, a rollback of
// the stream with events that can and events that cannot be sent again, keys set free,
// retention, and a new mark at a sequence that the rollback had freed.
func lived(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "j")
	j := open(t, dir)
	for n := 1; n <= 20; n++ {
		appendOne(t, j, record(n))
	}
	for seq := uint64(1); seq <= 12; seq++ {
		markAt(t, j, map[uint64]uint64{seq: seq})
	}
	for seq := uint64(13); seq <= 15; seq++ {
		item, _, err := j.Load(seq)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.MarkDead(item, Death{At: time.Now(), Reason: "too large"}); err != nil {
			t.Fatal(err)
		}
	}
	dead := func(seq uint64) DeadItem {
		d, err := j.Dead(seq)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	steps := []func() error{
		func() error { return j.Requeue([]Item{dead(13).Item}) },
		func() error { return j.Discard([]DeadItem{dead(14)}) },
		func() error { return j.Forget([]Item{dead(15).Item}) },
		func() error { _, _, err := j.DropPublished(30); return err }, // 1 to 5 lose their bodies
		func() error { return j.NoteRollback(4) },
		func() error { _, err := j.Unpublish(4, func(Item) {}); return err }, // 4 and 5 cannot be sent again
		func() error { markAt(t, j, map[uint64]uint64{8: 4}); return nil },   // 6 and 7 are held
		func() error { markAt(t, j, map[uint64]uint64{9: 5, 16: 6}); return nil },
		j.Sync,
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	closeJournal(t, j)
	return dir
}

// Behind the last record no later one leaves a gap. Repair said nothing of it when its state
// was damaged, and gave its sequence away again; and a wrong bit in the sequence of its key
// made it another record, with others lost before it.
func TestRepairAccountsForTheLastRecord(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "j")
	j := open(t, dir)
	const n = 3
	var last Entry
	for i := range n {
		seq := appendOne(t, j, record(i)).Seq
		var err error
		if last, err = j.Find(seq); err != nil {
			t.Fatal(err)
		}
		last.Item = last.Clone()
	}
	markPublished(t, j, 1) // so that its batch is not the end that a crash cuts off
	closeJournal(t, j)
	var its logBatch
	for _, b := range logBatches(t, dir) {
		if bytes.Contains(b.data, seqKey(prefixBody, n)) {
			its = b
		}
	}
	if its.data == nil {
		t.Fatal("no batch has the last record")
	}
	// Every second byte: each takes a tenth of a second with the race detector.
	for at := its.offset + rand.IntN(2); at < its.offset+logSyncHeader+len(its.data); at += 2 {
		k, report := repairDamaged(t, dir, its.file, at)
		saved, lost := report.Pending+report.Published+report.Dead, 0
		for _, r := range report.Lost {
			lost += int(r.Last - r.First + 1)
		}
		if saved+lost != n || lost+len(report.Damaged) > 1 {
			t.Errorf("byte %d of the batch: saved %d of %d, lost %v, damaged %v; %v", at-its.offset, saved, n, report.Lost, report.Damaged, report.Notes)
		}
		if is, err := k.Find(n); err == nil && !bytes.Equal(is.Digest, last.Digest) {
			t.Errorf("byte %d of the batch: record %d is another", at-its.offset, n)
		}
		if next := appendOne(t, k, record(9999)).Seq; next <= n {
			t.Errorf("byte %d of the batch: the next record is %d, which there was", at-its.offset, next)
		}
		closeJournal(t, k)
	}
}

// The disk damaged one byte in the head of a batch. Repair took ids back that had been set
// free, so that the sender's next attempt was answered "duplicate" and dropped; and left
// records published that had been made pending again because the stream had lost them.
func TestRepairOfAJournalDamagedAtEveryBatch(t *testing.T) {
	t.Parallel()
	dir := lived(t)
	opened := filepath.Join(t.TempDir(), "opened")
	if err := os.CopyFS(opened, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	j := open(t, opened)
	whole := make(map[uint64]Entry)
	for e, err := range j.Newest(0) {
		if err != nil {
			t.Fatal(err)
		}
		e.Item = e.Clone()
		whole[e.Seq] = e
	}
	keys := keySpace(t, j)
	closeJournal(t, j)
	batches := logBatches(t, dir)
	if len(batches) < 40 {
		t.Fatalf("only %d batches", len(batches))
	}
	for i, batch := range batches {
		t.Run(fmt.Sprintf("batch %d of %d bytes", i, len(batch.data)), func(t *testing.T) {
			k, report := repairDamaged(t, dir, batch.file, batch.offset+logSyncHeader+2) // in the head: of no record
			defer closeJournal(t, k)
			last := i == len(batches)-1                                                           // like the torn end that a crash leaves
			if after := keySpace(t, k); len(report.Notes) == 0 && !last && batch.data[12] != 15 { // DropPublished: bodies come back
				if lost, new := differences(keys, after), differences(after, keys); len(lost)+len(new) > 0 {
					t.Errorf("the damage is not reported; keys that are lost or changed: %q; keys that are new or changed: %q", lost, new)
				}
			}
			lost := make(map[uint64]bool)
			for _, r := range report.Lost {
				for seq := r.First; seq <= r.Last; seq++ {
					lost[seq] = true
				}
			}
			for _, seq := range slices.Sorted(maps.Keys(whole)) {
				was := whole[seq]
				is, err := k.Find(seq)
				if err != nil {
					if !lost[seq] {
						t.Errorf("record %d (%s) is gone without a report", seq, was.State)
					}
					continue
				}
				owns, err := k.HasPosition(seq)
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case was.State == is.State:
				case is.State == Pending: // a repeat, which JetStream recognises
				case was.State == Pending && is.State == Published && owns: // the next verification finds it
				case was.State == Discarded && is.State == Dead, was.State == Pending && is.State == Dead:
				case last:
				default:
					t.Errorf("record %d was %s and is %s", seq, was.State, is.State)
				}
				if is.State == Published && was.State == Pending && !owns {
					t.Errorf("record %d was pending and is published, at a stream sequence of another record: nothing finds that", seq)
				}
				if _, taken := keys[string(seenKey(was.Key))]; !taken && !last {
					if _, err := k.get(seenKey(was.Key)); err == nil && is.Key != "" {
						t.Errorf("record %d: its key was free, and is taken", seq)
					}
				}
			}
		})
	}
}

// After a rollback the record that had been at a stream sequence was pending, and another
// took the sequence. The disk damaged the key of the first one in the batch that had made it
// pending.
func TestRepairMakesPendingWhatLostItsStreamSequence(t *testing.T) {
	dir := lived(t)
	moved := seqKey(prefixPending, 6)
	for _, batch := range logBatches(t, dir) {
		s := siftBatch(batch.data)
		if len(s.pairs) < 5 || s.appends[6] {
			continue // it is not the rollback's
		}
		at := slices.IndexFunc(s.pairs, func(p pair) bool { return slices.Equal(p.key, moved) })
		if at < 0 {
			continue
		}
		file, err := os.ReadFile(filepath.Join(dir, batch.file))
		if err != nil {
			t.Fatal(err)
		}
		for offset := batch.offset; ; offset++ {
			if slices.Equal(file[offset:offset+9], moved) && binary.BigEndian.Uint64(file[offset+1:]) == 6 {
				k, report := repairDamaged(t, dir, batch.file, offset)
				defer closeJournal(t, k)
				if e, err := k.Find(6); err != nil || e.State != Pending {
					t.Errorf("record 6: got %+v %v, want it pending; report %+v", e, err, report)
				}
				return
			}
		}
	}
	t.Fatal("no batch of a rollback")
}

// A log file that was used before has, behind its end, marks of its former life. They
// must not make unpublished (healed) records published again.
func TestRepairTakesNoMarksOfAFormerLog(t *testing.T) {
	t.Parallel()
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
		copyOpen(t, j, filepath.Join(dir, "j"), image)
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
