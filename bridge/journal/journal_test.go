package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func open(t *testing.T, dir string, change ...func(*Options)) *Journal {
	t.Helper()
	o := Options{Dir: dir}
	for _, f := range change {
		f(&o)
	}
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeJournal(t, j) })
	return j
}

func closeJournal(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil && !errors.Is(err, ErrFailed) {
		t.Errorf("close: %v", err)
	}
}

func record(n int) Record {
	return Record{Key: fmt.Sprintf("persat:msg_%d", n), Header: fmt.Appendf(nil, "header %d", n), Body: fmt.Appendf(nil, "body %d", n)}
}

func appendOne(t *testing.T, j *Journal, r Record) Result {
	t.Helper()
	result, err := j.Append(t.Context(), r)
	if err != nil {
		t.Fatalf("append %s: %v", r.Key, err)
	}
	return result
}

// pending are the sequences of all pending records.
func pending(t *testing.T, j *Journal) []uint64 {
	t.Helper()
	var seqs []uint64
	for item, err := range j.AllPending() {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, item.Seq)
	}
	return seqs
}

func markPublished(t *testing.T, j *Journal, seqs ...uint64) {
	t.Helper()
	var marks []Mark
	for _, seq := range seqs {
		item, _, err := j.Load(seq)
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, Mark{Item: item, StreamSeq: seq + 1000, At: time.Now()})
	}
	if _, err := j.MarkPublished(marks); err != nil {
		t.Fatal(err)
	}
}

func TestRecordComesBackAsItWas(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	before := time.Now()
	if got, want := appendOne(t, j, record(1)), (Result{Seq: 1, Status: Stored}); got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	closeJournal(t, j)
	j = open(t, dir)
	item, body, err := j.Load(1)
	if err != nil {
		t.Fatal(err)
	}
	if want := record(1); item.Key != want.Key || !bytes.Equal(item.Header, want.Header) || !bytes.Equal(body, want.Body) {
		t.Errorf("got %+v %q, want %+v", item, body, want)
	}
	if item.Appended.Before(before) || item.Appended.After(time.Now()) {
		t.Errorf("appended at %v, want a time since %v", item.Appended, before)
	}
}

func TestSeenKey(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	appendOne(t, j, record(1))
	other := record(1)
	other.Body = []byte("other bytes")
	anonymous := record(2)
	anonymous.Key = ""
	check := func(when string) {
		t.Helper()
		if got, want := appendOne(t, j, record(1)), (Result{Seq: 1, Status: Repeat}); got != want {
			t.Errorf("%s: same bytes: got %+v, want %+v", when, got, want)
		}
		if got, want := appendOne(t, j, other), (Result{Seq: 1, Status: Conflict}); got != want {
			t.Errorf("%s: other bytes: got %+v, want %+v", when, got, want)
		}
		if got := appendOne(t, j, anonymous); got.Status != Stored {
			t.Errorf("%s: without a key: got %+v, want it stored", when, got)
		}
	}
	check("pending")
	markPublished(t, j, 1)
	check("published")
	closeJournal(t, j)
	j = open(t, dir)
	check("after a restart")
}

func TestSeenKeyEndsWithTheWindowUnlessTheRecordWaits(t *testing.T) {
	j := open(t, t.TempDir(), func(o *Options) { o.DedupWindow = time.Nanosecond })
	appendOne(t, j, record(1))
	time.Sleep(time.Millisecond)
	if got := appendOne(t, j, record(1)); got.Status != Repeat {
		t.Errorf("while it waits: got %+v, want a repeat", got)
	}
	markPublished(t, j, 1)
	if got, want := appendOne(t, j, record(1)), (Result{Seq: 2, Status: Stored}); got != want {
		t.Errorf("published, after the window: got %+v, want %+v", got, want)
	}
}

func TestRepeatsThatRaceAreStoredOnce(t *testing.T) {
	j := open(t, t.TempDir())
	const senders, ids = 32, 50
	var stored [ids]atomic.Int32
	var group sync.WaitGroup
	for range senders {
		group.Go(func() {
			for n := range ids {
				result, err := j.Append(context.Background(), record(n))
				if err != nil {
					t.Errorf("append: %v", err)
				}
				if result.Status == Stored {
					stored[n].Add(1)
				}
			}
		})
	}
	group.Wait()
	for n := range stored {
		if got := stored[n].Load(); got != 1 {
			t.Errorf("record %d: stored %d times, want once", n, got)
		}
	}
	if got := len(pending(t, j)); got != ids {
		t.Errorf("got %d pending, want %d", got, ids)
	}
}

func TestSequenceNeverComesAgain(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		j := open(t, dir)
		result := appendOne(t, j, record(round))
		if want := uint64(round + 1); result.Seq != want {
			t.Fatalf("round %d: got sequence %d, want %d", round, result.Seq, want)
		}
		markPublished(t, j, result.Seq)
		closeJournal(t, j)
	}
}

func TestRecordIsInOneState(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	for n := range 3 {
		appendOne(t, j, record(n))
	}
	born := record(3)
	born.Dead = &Death{At: time.Unix(1, 0), Reason: "not JSON"}
	appendOne(t, j, born)
	markPublished(t, j, 1)
	item, _, err := j.Load(2)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.MarkDead(item, Death{At: time.Unix(2, 0), Reason: "too large", Attempts: 3}); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		if got, want := pending(t, j), []uint64{3}; !slices.Equal(got, want) {
			t.Errorf("%s: pending: got %v, want %v", when, got, want)
		}
		published, dead := make(map[uint64]PublishedItem), make(map[uint64]DeadItem)
		for p, err := range j.AllPublished(0) {
			if err != nil {
				t.Fatal(err)
			}
			published[p.Seq] = p
		}
		for d, err := range j.AllDead() {
			if err != nil {
				t.Fatal(err)
			}
			dead[d.Seq] = d
		}
		if len(published) != 1 || published[1].StreamSeq != 1001 || published[1].Key != "persat:msg_0" {
			t.Errorf("%s: published: got %+v", when, published)
		}
		if len(dead) != 2 || dead[2].Reason != "too large" || dead[2].Attempts != 3 || dead[4].Reason != "not JSON" || !dead[4].At.Equal(time.Unix(1, 0)) {
			t.Errorf("%s: dead: got %+v", when, dead)
		}
	}
	check("at once")
	closeJournal(t, j)
	j = open(t, dir)
	check("after a restart")
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(Options{Dir: dir}); err == nil {
		t.Error("a second Open of the same directory: got no error")
	}
}

func TestLaterFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	if err := j.db.Set(metaFormat.key(), binary.BigEndian.AppendUint64(nil, formatVersion+1), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	if _, err := Open(Options{Dir: dir}); err == nil {
		t.Error("got no error")
	}
	if _, err := parseValue([]byte{valueVersion + 1}); err == nil {
		t.Error("a later value: got no error")
	}
}

// TestFailedSync is the whole promise in a fault: the disk refuses a sync, and
// from then on nothing is promised any more; what was promised before is there.
func TestFailedSync(t *testing.T) {
	memory := vfs.NewCrashableMem()
	var broken atomic.Bool
	var syncs atomic.Int32
	faulty := errorfs.Wrap(memory, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			if broken.Load() {
				syncs.Add(1)
				return errorfs.ErrInjected
			}
		}
		return nil
	}))
	j := open(t, "journal", func(o *Options) { o.FS = faulty })
	for n := range 10 {
		appendOne(t, j, record(n))
	}
	broken.Store(true)
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			if _, err := j.Append(context.Background(), record(100+n)); !errors.Is(err, ErrFailed) {
				t.Errorf("append over a failing sync: got %v, want ErrFailed", err)
			}
		})
	}
	group.Wait()
	<-j.Failed()
	broken.Store(false)
	if _, err := j.Append(t.Context(), record(200)); !errors.Is(err, ErrFailed) {
		t.Errorf("append after it: got %v, want ErrFailed: a failed sync is never made good", err)
	}
	if syncs.Load() != 1 {
		t.Errorf("the failed sync was tried %d times, want once", syncs.Load())
	}
	// Power goes: of the unsynced bytes nothing is left.
	j = open(t, "journal", func(o *Options) { o.FS = memory.CrashClone(vfs.CrashCloneCfg{}) })
	if got := len(pending(t, j)); got != 10 {
		t.Errorf("after the crash: got %d pending, want the 10 that were promised", got)
	}
}

// TestPowerLoss takes away, again and again, all that was not synced, and finds
// every record that Append had returned for.
func TestPowerLoss(t *testing.T) {
	memory := vfs.NewCrashableMem()
	j := open(t, "journal", func(o *Options) { o.FS = memory })
	var mu sync.Mutex
	promised := make(map[uint64]string)
	type crash struct {
		disk     *vfs.MemFS
		promised map[uint64]string
	}
	crashes := make(chan crash, 8*200/100)
	var group sync.WaitGroup
	for sender := range 8 {
		group.Go(func() {
			for n := range 200 {
				r := record(sender*1000 + n)
				result, err := j.Append(context.Background(), r)
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				mu.Lock()
				promised[result.Seq] = r.Key
				if len(promised)%100 == 0 {
					crashes <- crash{memory.CrashClone(vfs.CrashCloneCfg{}), maps.Clone(promised)}
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	close(crashes)
	for c := range crashes {
		after, err := Open(Options{Dir: "journal", FS: c.disk})
		if err != nil {
			t.Fatal(err)
		}
		for seq, key := range c.promised {
			item, body, err := after.Load(seq)
			if err != nil || item.Key != key || len(body) == 0 {
				t.Errorf("record %d: got %q, %v; want %q", seq, item.Key, err, key)
			}
		}
		for seq, key := range c.promised {
			_, body, _ := after.Load(seq)
			if result := appendOne(t, after, Record{Key: key, Body: body}); result.Status != Repeat || result.Seq != seq {
				t.Errorf("record %d: its key is not seen: %+v", seq, result)
			}
			break // one is enough: key and record share a batch
		}
		closeJournal(t, after)
	}
}

var update = flag.Bool("update", false, "write the golden journal of the present format")

// TestGolden opens a journal of every format that there ever was. A failure means
// that an upgrade would lose what is pending: change the code, not the golden.
func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	dirs, err := filepath.Glob("testdata/golden/*")
	if err != nil || len(dirs) < formatVersion {
		t.Fatalf("got %d golden journals (%v), want one for each of %d formats", len(dirs), err, formatVersion)
	}
	for _, golden := range dirs {
		t.Run(filepath.Base(golden), func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
				t.Fatal(err)
			}
			j := open(t, dir)
			if got, want := pending(t, j), []uint64{2, 4}; !slices.Equal(got, want) {
				t.Errorf("pending: got %v, want %v", got, want)
			}
			item, body, err := j.Load(2)
			if want := record(2); err != nil || item.Key != want.Key || !bytes.Equal(item.Header, want.Header) || !bytes.Equal(body, want.Body) {
				t.Errorf("record 2: got %+v %q %v, want %+v", item, body, err, want)
			}
			if p, err := j.Published(1); err != nil || p.StreamSeq != 1001 {
				t.Errorf("record 1: got %+v %v, want it published at 1001", p, err)
			}
			if d, err := j.Dead(3); err != nil || d.Reason != "too large" || d.Attempts != 2 {
				t.Errorf("record 3: got %+v %v, want it dead", d, err)
			}
			if got := appendOne(t, j, record(1)); got.Seq != 1 || got.Status == Stored {
				t.Errorf("key of record 1: got %+v, want it seen", got)
			}
			if got := appendOne(t, j, record(9)); got.Seq != 5 {
				t.Errorf("next: got sequence %d, want 5", got.Seq)
			}
		})
	}
}

func writeGolden(t *testing.T) {
	dir := fmt.Sprintf("testdata/golden/v%d", formatVersion)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	j := open(t, dir, func(o *Options) { o.DedupWindow = 100 * 365 * 24 * time.Hour })
	for n := 1; n <= 4; n++ {
		appendOne(t, j, record(n))
		if n == 2 { // so that there is a table, and not only a log
			if err := j.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	markPublished(t, j, 1)
	item, _, err := j.Load(3)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.MarkDead(item, Death{At: time.Unix(3, 0), Reason: "too large", Attempts: 2}); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
}

func FuzzParseValue(f *testing.F) {
	v := value{appended: time.Unix(1, 2), key: "k", header: []byte("h"), streamSeq: 3, at: time.Unix(4, 5), reason: "r", attempts: 6, seq: 7, digest: []byte("d")}
	f.Add(v.append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseValue(b)
		if err != nil {
			return
		}
		again, err := parseValue(v.append(nil))
		if err != nil {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
		if again.key != v.key || again.streamSeq != v.streamSeq || again.attempts != v.attempts || again.reason != v.reason {
			t.Errorf("got %+v, want %+v", again, v)
		}
	})
}

// BenchmarkAppend is the durable append of 2 KB records by many at once.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			j, err := Open(Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			body := bytes.Repeat([]byte(`{"a":"b"}`), 230)
			var n atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			var group sync.WaitGroup
			for range writers {
				group.Go(func() {
					for {
						i := n.Add(1)
						if i > int64(b.N) {
							return
						}
						if _, err := j.Append(context.Background(), Record{Key: fmt.Sprint(i), Header: body[:100], Body: body}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
		})
	}
}

// Sync returns when the marks are on disk, also when the sync that brings them there
// is that of an append that is still under way.
func TestSyncWaitsForTheSyncOfAnAppend(t *testing.T) {
	disk := &heldDisk{FS: vfs.NewMem(), syncing: make(chan struct{}, 100), release: make(chan struct{})}
	j := open(t, "journal", func(o *Options) { o.FS = disk })
	appendOne(t, j, record(1))
	disk.hold.Store(true)
	markPublished(t, j, 1)
	appended, synced := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := j.Append(context.Background(), record(2))
		appended <- err
	}()
	<-disk.syncing
	go func() { synced <- j.Sync() }()
	select {
	case err := <-synced:
		t.Errorf("Sync returned %v while the disk was still syncing", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(disk.release)
	if err := errors.Join(<-appended, j.Sync()); err != nil {
		t.Error(err)
	}
}

// heldDisk holds every sync until release is closed, once hold is set.
type heldDisk struct {
	vfs.FS
	hold    atomic.Bool
	syncing chan struct{} // takes one for each sync that is held
	release chan struct{}
}

func (d *heldDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	return heldFile{f, d}, err
}

func (d *heldDisk) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(old, name, category)
	return heldFile{f, d}, err
}

type heldFile struct {
	vfs.File
	disk *heldDisk
}

func (f heldFile) wait() {
	if f.disk.hold.Load() {
		f.disk.syncing <- struct{}{}
		<-f.disk.release
	}
}

func (f heldFile) Sync() error {
	f.wait()
	return f.File.Sync()
}

func (f heldFile) SyncData() error {
	f.wait()
	return f.File.SyncData()
}

func (f heldFile) SyncTo(n int64) (bool, error) {
	f.wait()
	return f.File.SyncTo(n)
}
