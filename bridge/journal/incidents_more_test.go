package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bits-and-blooms/bloom/v3"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

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

// A dead letter that is discarded late is trimmed late: "trimmed" goes back, and repair says
// that all after it is lost.
func TestTrimmedOnlyRises(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := open(t, dir)
	for n := 1; n <= 10; n++ {
		appendOne(t, j, record(n))
	}
	item, _, err := j.Load(2)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.MarkDead(item, Death{At: time.Now(), Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	markPublished(t, j, 1, 3, 4, 5, 6, 7, 8, 9, 10)
	later := time.Now().Add(time.Hour)
	if _, err := j.Trim(later, later); err != nil {
		t.Fatal(err)
	}
	d, err := j.Dead(2)
	if err != nil {
		t.Fatal(err)
	}
	d.At = time.Now()
	if err := j.Discard([]DeadItem{d}); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Trim(later, later); err != nil {
		t.Fatal(err)
	}
	appendOne(t, j, record(11))
	closeJournal(t, j)
	report, err := Repair(dir, dir+"-r", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Lost) > 0 {
		t.Errorf("repair of a whole journal says that records %v are lost", report.Lost)
	}
}

// What is published while DropPublished looks for bodies to drop is never looked at by the next.
func TestDropPublishedWhilePublishing(t *testing.T) {
	j := open(t, t.TempDir())
	const n = 3000
	var seqs []uint64
	done := make(chan uint64, n)
	sem := make(chan struct{}, 256)
	for i := range n {
		sem <- struct{}{}
		go func() {
			r := record(i)
			r.Body = bytes.Repeat([]byte{byte(i)}, 1000)
			res, err := j.Append(t.Context(), r)
			if err != nil {
				t.Error(err)
			}
			<-sem
			done <- res.Seq
		}()
	}
	for range n {
		<-done
	}
	held := make([]uint64, 0)
	for _, seq := range pending(t, j) {
		if seq > 100 && seq <= 1100 { // a held subject
			held = append(held, seq)
		} else {
			seqs = append(seqs, seq)
		}
	}
	markPublished(t, j, seqs...)
	var marks []Mark
	for _, seq := range held {
		item, _, err := j.Load(seq)
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, Mark{Item: item, StreamSeq: 100000 + seq, At: time.Now()})
	}
	finished := make(chan struct{})
	go func() { // the gate opens while room is being made
		defer close(finished)
		for j.moving.TryLock() {
			j.moving.Unlock()
		}
		time.Sleep(time.Millisecond)
		if _, err := j.MarkPublished(marks); err != nil {
			t.Error(err)
		}
	}()
	dropped, _, err := j.DropPublished(1 << 40)
	if err != nil {
		t.Fatal(err)
	}
	<-finished
	again, _, err := j.DropPublished(1 << 40)
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for e, err := range j.AllPublished(0) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Body(e.Seq); err == nil {
			left++
		}
	}
	t.Logf("dropped %d and %d", dropped, again)
	if left > 0 {
		t.Errorf("%d published bodies are left that no DropPublished finds: the journal stays full", left)
	}
}

// One damaged block with bodies of published records.
func TestDamagedPublishedBody(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := open(t, dir)
	var seqs []uint64
	for n := 1; n <= 100; n++ {
		r := record(n)
		r.Body = bytes.Repeat([]byte{byte(n), byte(n * 7), byte(n * n), byte(n >> 1)}, 500)
		for i := range r.Body {
			r.Body[i] = byte(i * n * 2654435761 >> 7)
		}
		seqs = append(seqs, appendOne(t, j, r).Seq)
	}
	markPublished(t, j, seqs...)
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	tables := bySize(t, dir, "*.sst")
	flipByte(t, tables[0].name, tables[0].size/3)
	j = open(t, dir)
	if _, _, err := j.DropPublished(1 << 40); err != nil {
		t.Errorf("DropPublished: %v", err)
	}
	later := time.Now().Add(time.Hour)
	if _, err := j.Trim(later, later); err != nil {
		t.Errorf("Trim: %v", err)
	}
	if _, err := j.Unpublish(1, func(Item) {}); err != nil {
		t.Errorf("Unpublish: %v", err)
	}
	_ = os.Remove
}

// More than a million ids are kept that are older than the last record that was trimmed (a subject that
// has been held for longer than the retention, while others flowed): the filter that is learned has no
// room for them, so each commit learns it anew, from the whole store.
func TestKeyFilterIsBuiltOnce(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	const n = 1_100_000
	b := j.db.NewBatch()
	for i := 1; i <= n; i++ {
		v := value{appended: time.Now(), seq: uint64(i)}
		if err := b.Set(seenKey(fmt.Sprintf("persat:msg_%d", i)), v.append(nil), nil); err != nil {
			t.Fatal(err)
		}
		if b.Len() > 1<<20 {
			if err := j.db.Apply(b, pebble.NoSync); err != nil {
				t.Fatal(err)
			}
			b.Reset()
		}
	}
	number := binary.BigEndian.AppendUint64(nil, n)
	if err := errors.Join(b.Set(metaTrimmed.key(), number, nil), b.Set(metaNext.key(), number, nil), j.db.Apply(b, pebble.Sync)); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	j = open(t, dir)
	filter := func() *bloom.BloomFilter {
		for {
			j.keyFilter.mu.Lock()
			f, learning := j.keyFilter.current, j.keyFilter.next != nil
			j.keyFilter.mu.Unlock()
			if f != nil && !learning {
				return f
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	filters := make(map[*bloom.BloomFilter]bool)
	for i := range 10 {
		filters[filter()] = true
		appendOne(t, j, record(10_000_000+i))
		time.Sleep(20 * time.Millisecond)
	}
	if len(filters) > 2 {
		t.Errorf("10 appends, and the filter was learned %d times", len(filters))
	}
}

// A journal that was copied in part: the store would see no database, make a new one and
// remove the tables of the old.
func TestOpenRefusesPartOfAJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := open(t, dir)
	for n := range 100 {
		appendOne(t, j, record(n))
	}
	if err := j.db.Flush(); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	markers, err := filepath.Glob(filepath.Join(dir, "marker.manifest.*"))
	if err != nil || len(markers) != 1 {
		t.Fatal(markers, err)
	}
	aside := filepath.Join(t.TempDir(), filepath.Base(markers[0]))
	if err := os.Rename(markers[0], aside); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, errIncomplete) {
		t.Errorf("open: got %v, want errIncomplete", err)
	}
	if _, err := Repair(dir, dir+"-r", nil); !errors.Is(err, errIncomplete) {
		t.Errorf("repair: got %v, want errIncomplete", err)
	}
	if err := os.Rename(aside, markers[0]); err != nil {
		t.Fatal(err)
	}
	if got := len(pending(t, open(t, dir))); got != 100 {
		t.Errorf("with the whole directory again: got %d pending, want 100", got)
	}
}

func TestRepairOfNoJournal(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if report, err := Repair(dir, dir+"-r", nil); err == nil {
		t.Errorf("got %+v and no error", report)
	}
	if _, err := os.Stat(filepath.Join(dir, "LOCK")); err == nil {
		t.Error("it left a LOCK in a directory that is none of ours")
	}
	if _, err := Open(Options{Dir: dir, ReadOnly: true}); err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("read-only: got %v", err)
	}
}

// The disk fails at the last sync, that of Close.
func TestCloseOverAFailingSync(t *testing.T) {
	var broken atomic.Bool
	faulty := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			return errorfs.ErrInjected
		}
		return nil
	}))
	j, err := Open(Options{Dir: "journal", FS: faulty})
	if err != nil {
		t.Fatal(err)
	}
	markPublished(t, j, appendOne(t, j, record(1)).Seq)
	broken.Store(true)
	if err := j.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("got %v, want ErrFailed", err)
	}
}

// An id is used again after its window, in the moment in which Trim forgets its first use.
func TestTrimLeavesAKeyTakenMeanwhile(t *testing.T) {
	for round := range 4 {
		var offset atomic.Int64
		j := open(t, filepath.Join(t.TempDir(), fmt.Sprint(round)), func(o *Options) {
			o.DedupWindow = time.Hour
			o.now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		})
		const n = 4000
		var marks []Mark
		for i := range n {
			j.appends <- func() *appendRequest {
				q := j.newRequest()
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
		if _, err := j.MarkPublished(marks); err != nil {
			t.Fatal(err)
		}
		offset.Store(int64(2 * time.Hour))
		done := make(chan error, 1)
		go func() {
			past := j.o.now().Add(-time.Hour)
			_, err := j.Trim(past, past)
			done <- err
		}()
		// The sender sends one of two hours ago again, and a minute later once more.
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

// The last batch of the log, synced and answered, has a flipped byte. Nothing behind it in
// the log would say that it had been whole, but for what Close writes.
func TestDamagedLastBatch(t *testing.T) {
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
		if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: open: got %v", what, err)
		}
		report, err := Repair(dir, dir+"-r", nil)
		if err != nil || report.Pending != 9 {
			t.Errorf("%s: repair: %+v, error %v", what, report, err)
		}
		if whole := len(report.Damaged) == 0 && report.Unread == 0; whole {
			t.Errorf("%s: repair says that nothing was lost", what)
		}
	}
}

// An id was used again for other bytes, which were kept under a key of their own. Their
// repeat, when the first use of the id has left the window and they have not.
func TestRepeatOfAConflict(t *testing.T) {
	clock := time.Now()
	j := open(t, filepath.Join(t.TempDir(), "j"), func(o *Options) { o.now = func() time.Time { return clock } })
	first, second := record(1), record(1)
	second.Body = []byte("other bytes")
	markPublished(t, j, appendOne(t, j, first).Seq) // what is pending stays seen
	clock = clock.Add(48 * time.Hour)
	if got := appendOne(t, j, second); got.Status != Conflict {
		t.Fatalf("other bytes: got %+v, want a conflict", got)
	}
	aside := second
	aside.Key = ConflictKey(second.Key, second.Body)
	kept := appendOne(t, j, aside)
	markPublished(t, j, kept.Seq)
	clock = clock.Add(48 * time.Hour) // of 72 h
	if got := appendOne(t, j, second); got != (Result{Seq: kept.Seq, Status: Repeat}) {
		t.Errorf("its repeat: got %+v, want one of record %d", got, kept.Seq)
	}
	clock = clock.Add(48 * time.Hour)
	if got := appendOne(t, j, second); got.Status != Stored {
		t.Errorf("its repeat after the window: got %+v, want a new record", got)
	}
}
