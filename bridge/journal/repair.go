package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// Report says what Repair saved and what it could not.
type Report struct {
	Pending, Published, Dead int
	// Lost are the records of which nothing could be read, as ranges.
	Lost []Range
	// Damaged are records whose header could be read and whose body could not.
	// They are dead letters in the new journal, with the damaged body.
	Damaged []Item
	// Bodiless are published records whose body could not be read: they are in the
	// stream, and cannot be replayed or heal it.
	Bodiless []Item
	// Unread is how many damaged batches of the log nothing could be read of. What records
	// they had is seen only where others come after them.
	Unread int
	// Notes say where in the old files damage was found.
	Notes []string
}

// Range is from First to Last, both included.
type Range struct{ First, Last uint64 }

func (r Range) String() string {
	if r.First == r.Last {
		return strconv.FormatUint(r.First, 10)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Repair reads the journal in from, which no process may have open, and writes
// all that is whole into a new one in to, which must not exist. In from nothing is
// changed but its lock. A directory that has no journal is an error, also one that lacks
// the file that all begins with (errIncomplete): what is in its tables cannot be told from
// what was dropped. In steps:
//
//  1. The files of from are copied beside to, without the logs, and opened: that
//     is the journal as it was when its tables were written. Where one byte of a
//     table's block is damaged, the copy has it corrected.
//  2. The logs are taken apart by hand, oldest first. A whole batch is applied as
//     it is. Out of a damaged one is taken every record that its own checksum and
//     the digest of its body show to be whole.
//  3. What can be read of the result goes into the new journal, which so has no
//     damaged block, and the sequences tell what is missing.
//
// A mark that is lost (published, dead) makes a record pending again; that costs
// a repeat, which JetStream recognises inside its duplicate window.
func Repair(from, to string, log *zap.Logger) (report Report, err error) {
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		return report, fmt.Errorf("repair into %s: it exists already: name a new directory", to)
	}
	exists, err := look(vfs.Default, from)
	if err == nil && !exists {
		err = errors.New("there is no journal in it: name the directory of one (journal.dir)")
	}
	if err != nil {
		return report, fmt.Errorf("repair %s: %w", from, err)
	}
	lock, err := pebble.LockDirectory(from, snapshotFS{vfs.Default})
	if err != nil {
		return report, openError(vfs.Default, from, err)
	}
	defer lock.Close()
	work := to + ".work"
	if err := os.RemoveAll(work); err != nil {
		return report, err
	}
	defer os.RemoveAll(work)
	logs, err := copyTables(from, work, &report)
	if err != nil {
		return report, fmt.Errorf("repair %s: %w", from, err)
	}
	o := Options{Dir: work, Log: log}
	if err := o.validate(); err != nil {
		return report, err
	}
	w := newJournal(o)
	if err := w.openStore(); err != nil {
		return report, fmt.Errorf("repair %s: its tables cannot be opened: %w", from, advised(err, work))
	}
	w.letMerge()
	for _, name := range logs {
		if err := w.applyLog(filepath.Join(from, name), &report); err != nil {
			return report, errors.Join(fmt.Errorf("repair %s: %w", name, err), w.closeStore())
		}
	}
	err = w.copyInto(to, &report)
	return report, errors.Join(err, w.closeStore())
}

// copyTables copies all files but the logs and the lock, and returns the names
// of the logs, oldest first. It corrects damaged bytes of tables in the copy.
func copyTables(from, to string, report *Report) (logs []string, err error) {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		switch {
		case strings.HasSuffix(e.Name(), ".log"):
			logs = append(logs, e.Name())
		case e.Name() == "LOCK" || e.IsDir():
		default:
			b, err := os.ReadFile(filepath.Join(from, e.Name()))
			if err != nil {
				return nil, err
			}
			if strings.HasSuffix(e.Name(), ".sst") {
				t := tableFile{bytes: b}
				t.correct()
				t.note(e.Name(), report)
			}
			if err := os.WriteFile(filepath.Join(to, e.Name()), b, 0o600); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(logs) // their numbers have leading zeros
	return logs, nil
}

// copyInto writes what is whole into a new journal.
func (j *Journal) copyInto(to string, report *Report) error {
	n, err := Open(Options{Dir: to, Log: j.o.Log})
	if err != nil {
		return err
	}
	err = n.fillFrom(j, report)
	return errors.Join(err, n.Close())
}

// fillFrom copies record by record, in the order of their sequences, and notes
// the gaps.
func (j *Journal) fillFrom(old *Journal, report *Report) error {
	next, trimmed := metaNext.readable(old), metaTrimmed.readable(old)
	expect := uint64(1) // the sequence that should come
	last := uint64(0)
	gap := func(upTo uint64) {
		if first := max(expect, trimmed+1); first < upTo {
			report.Lost = append(report.Lost, Range{first, upTo - 1})
		}
	}
	batch := j.db.NewBatch()
	defer func() { _ = batch.Close() }()
	for seq := range old.sequences(report) {
		gap(seq)
		expect, last = seq+1, seq
		c, ok := old.copyRecord(seq, report)
		if !ok {
			report.Lost = append(report.Lost, Range{seq, seq})
			continue
		}
		report.count(c.prefix)
		if err := c.put(batch); err != nil {
			return err
		}
		if batch.Len() > maxBatchBytes {
			if err := j.write(func() error { return j.db.Apply(batch, pebble.NoSync) }); err != nil {
				return err
			}
			if err := batch.Close(); err != nil {
				return err
			}
			batch = j.db.NewBatch()
		}
	}
	if next > last+1 {
		gap(next)
	}
	for _, name := range metaKept {
		if b, err := old.get(name.key()); err == nil {
			if err := batch.Set(name.key(), b, nil); err != nil {
				return err
			}
		}
	}
	if err := j.copyPullPositions(batch, old); err != nil {
		return err
	}
	if err := metaNext.set(batch, max(next, last+1)); err != nil {
		return err
	}
	return j.write(func() error { return j.db.Apply(batch, pebble.Sync) })
}

// sequences goes through all records that a body or any state key speaks of, in
// order, and over damaged blocks.
func (j *Journal) sequences(report *Report) func(yield func(uint64) bool) {
	prefixes := [...]byte{prefixBody, prefixPending, prefixPublished, prefixDead}
	return func(yield func(uint64) bool) {
		var heads [len(prefixes)]struct {
			seq uint64
			ok  bool
		}
		for i, prefix := range prefixes {
			heads[i].seq, heads[i].ok = j.nextReadable(prefix, 0, report)
		}
		for {
			lowest, found := uint64(0), false
			for _, head := range heads {
				if head.ok && (!found || head.seq < lowest) {
					lowest, found = head.seq, true
				}
			}
			if !found || !yield(lowest) {
				return
			}
			for i, prefix := range prefixes {
				if heads[i].ok && heads[i].seq == lowest {
					heads[i].seq, heads[i].ok = j.nextReadable(prefix, lowest+1, report)
				}
			}
		}
	}
}

// maxSkip is how far nextReadable looks behind a block that cannot be read.
const maxSkip = 1 << 20

// nextReadable is the first sequence under prefix from on whose key can be read.
func (j *Journal) nextReadable(prefix byte, from uint64, report *Report) (uint64, bool) {
	for step := uint64(1); ; step *= 2 {
		it, err := j.iter(prefix, from)
		if err == nil {
			ok := it.First()
			var seq uint64
			if ok {
				seq, err = seqOf(it.Key())
			}
			err = errors.Join(err, it.Error())
			if closeErr := it.Close(); err == nil && closeErr == nil {
				return seq, ok
			}
		}
		if step == 1 {
			report.Notes = append(report.Notes, fmt.Sprintf("a table cannot be read at record %d (%c): %v", from, prefix, err))
		}
		if step > maxSkip {
			return 0, false
		}
		from += step
	}
}
