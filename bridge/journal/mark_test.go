package journal

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// markAt marks pending records published at stream sequences.
func markAt(t *testing.T, j *Journal, at map[uint64]uint64) []Collision {
	t.Helper()
	var marks []Mark
	for _, seq := range slices.Sorted(maps.Keys(at)) {
		e, err := j.Find(seq)
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, Mark{Item: e.Item, StreamSeq: at[seq], At: time.Now()})
	}
	collisions, err := j.MarkPublished(marks)
	if err != nil {
		t.Fatal(err)
	}
	return collisions
}

// A server acknowledged a record, lost power behind a connection that stayed up, and gave
// the next record the same stream sequence. The mark overwrote the first record's
// position: nobody ever found that it was lost.
func TestMarkNeverTakesAnotherRecordsPosition(t *testing.T) {
	type positions map[uint64]uint64 // of records, by sequence
	for _, c := range []struct {
		name       string
		before     positions
		prepare    func(*Journal) error
		marks      positions
		collisions []uint64 // the records whose marks collide
		rollback   uint64
	}{
		{name: "sequences that only rise", before: positions{1: 1, 2: 2}, marks: positions{3: 3, 4: 7}},
		{name: "a sequence between, as other publishers leave them", before: positions{1: 5, 2: 9}, marks: positions{3: 7}},
		{name: "the newest", before: positions{1: 1, 2: 2}, marks: positions{3: 2}, collisions: []uint64{3}, rollback: 2},
		{name: "several", before: positions{1: 1, 2: 2, 3: 3}, marks: positions{4: 2, 5: 3, 6: 4}, collisions: []uint64{4, 5}, rollback: 2},
		{name: "one of the same batch", marks: positions{1: 4, 2: 4}, collisions: []uint64{2}, rollback: 4},
		{name: "its own, once more", before: positions{1: 1}, marks: positions{1: 1, 2: 2}},
		{name: "a lower rollback is noted already", before: positions{1: 1, 2: 2}, marks: positions{3: 2}, collisions: []uint64{3}, rollback: 1,
			prepare: func(j *Journal) error { return j.NoteRollback(1) }},
		{name: "one that a rollback has freed", before: positions{1: 1, 2: 2}, marks: positions{3: 2},
			prepare: func(j *Journal) error { _, err := j.Unpublish(2, func(Item) {}); return err }},
		{name: "one in the stream before", before: positions{1: 1, 2: 2}, marks: positions{3: 2},
			prepare: func(j *Journal) error { return j.ReplaceStream("another") }},
		{name: "one that retention has dropped", before: positions{1: 1, 2: 2}, marks: positions{3: 2},
			prepare: func(j *Journal) error {
				later := time.Now().Add(time.Hour)
				_, err := j.Trim(later, later)
				return err
			}},
		{name: "the same message, sent again after its key was free", before: positions{8: 8}, marks: positions{9: 8}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			j := open(t, dir)
			for n := 1; n <= 8; n++ {
				appendOne(t, j, record(n))
			}
			item, _, err := j.Load(8)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Forget([]Item{item}); err != nil {
				t.Fatal(err)
			}
			appendOne(t, j, record(8)) // 9
			if got := markAt(t, j, c.before); got != nil {
				t.Fatalf("before: collisions %v", got)
			}
			if c.prepare != nil {
				if err := c.prepare(j); err != nil {
					t.Fatal(err)
				}
			}
			was := make(map[uint64]State)
			for _, seq := range c.collisions {
				was[seq], _ = j.StateOf(seq)
			}
			var collided []uint64
			for _, got := range markAt(t, j, c.marks) {
				collided = append(collided, got.Seq)
				if owner, err := j.ownerSeq(got.StreamSeq); err != nil || owner != got.Owner || owner == got.Seq {
					t.Errorf("%+v: the position is record %d's (%v)", got, owner, err)
				}
			}
			if !slices.Equal(collided, c.collisions) {
				t.Errorf("collisions of %v, want %v", collided, c.collisions)
			}
			for _, again := range []bool{false, true} {
				if again {
					closeJournal(t, j)
					j = open(t, dir)
				}
				if got, err := j.RollbackNoted(); err != nil || got != c.rollback {
					t.Errorf("rollback noted %d (%v), want %d; after a restart: %v", got, err, c.rollback, again)
				}
				for seq, streamSeq := range c.marks {
					if slices.Contains(c.collisions, seq) {
						if got, err := j.StateOf(seq); err != nil || got != was[seq] {
							t.Errorf("record %d is %s (%v), was %s", seq, got, err, was[seq])
						}
						continue
					}
					if p, err := j.Published(seq); err != nil || p.StreamSeq != streamSeq {
						t.Errorf("record %d: got %+v %v, want it published at %d", seq, p, err, streamSeq)
					}
					if owns, err := j.HasPosition(seq); err != nil || !owns {
						t.Errorf("record %d has no position (%v)", seq, err)
					}
				}
			}
		})
	}
}

// A record whose position is damaged on the disk cannot be compared; the mark is written.
func TestMarkOverAPositionThatIsDamaged(t *testing.T) {
	j := open(t, t.TempDir())
	for n := 1; n <= 2; n++ {
		appendOne(t, j, record(n))
	}
	markAt(t, j, map[uint64]uint64{1: 1})
	if err := j.db.Set(seqKey(prefixStream, 1), []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	if got := markAt(t, j, map[uint64]uint64{2: 1}); got != nil {
		t.Errorf("collisions %v", got)
	}
	if owns, err := j.HasPosition(2); err != nil || !owns {
		t.Errorf("record 2 has no position (%v)", err)
	}
}

// A record whose message the stream had already was marked before it had been read. The
// reader got it out of the cache all the same: it was published twice, or, when retention
// had taken its body, ended the process.
func TestMarkedWithoutBeingRead(t *testing.T) {
	j := open(t, t.TempDir())
	defer closeJournal(t, j)
	for n := 1; n <= 3; n++ {
		appendOne(t, j, record(n))
	}
	markAt(t, j, map[uint64]uint64{2: 1})
	items, _, err := j.Pending(1, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for _, item := range items {
		got = append(got, item.Seq)
	}
	if want := []uint64{1, 3}; !slices.Equal(got, want) {
		t.Errorf("pending: got %v, want %v", got, want)
	}
}
