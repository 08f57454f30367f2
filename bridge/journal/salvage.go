package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// applyLog brings the work journal forward by one log.
func (j *Journal) applyLog(name string, report *Report) error {
	number, err := logNumber(filepath.Base(name))
	if err != nil {
		return err
	}
	file, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for _, r := range readLog(file, number) {
		if r.whole && j.applyBatch(r.data) == nil {
			continue
		}
		found, saved, err := j.applySifted(r.data, r.tail)
		if err != nil {
			return err
		}
		if r.tail && saved == 0 {
			continue // the end of the log, and after it what the file held before
		}
		if found == 0 {
			report.Unread++
		}
		report.Notes = append(report.Notes, fmt.Sprintf("%s: damaged at byte %d; %d record(s) of that batch saved", filepath.Base(name), r.offset, saved))
	}
	return nil
}

// logNumber is the number of a log by its file's name.
func logNumber(name string) (uint32, error) {
	number, err := strconv.ParseUint(strings.TrimLeft(strings.TrimSuffix(name, ".log"), "0"), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("number of log: %w", err)
	}
	return uint32(number), nil
}

func (j *Journal) applyBatch(data []byte) error {
	b := j.db.NewBatch()
	defer b.Close()
	if err := b.SetRepr(data); err != nil {
		return err
	}
	return j.write(func() error { return j.db.Apply(b, pebble.NoSync) })
}

// applySifted applies what is whole of a damaged batch. The bytes of a key have no
// checksum of their own, only the value that follows them has; so what a value says
// is held against what is known, and a wrong sequence is found by the body's digest. The
// bytes of the log's tail may be those of an earlier log in the same file: of them only
// records of which nothing is known are taken.
//
// found counts the states of records that could be read, whether or not they were taken;
// saved those that were taken with their bodies or became pending again.
func (j *Journal) applySifted(data []byte, tail bool) (found, saved int, err error) {
	b := j.db.NewBatch()
	defer b.Close()
	bound, err := j.sequenceBound()
	if err != nil {
		return 0, 0, err
	}
	s := siftBatch(data)
	described := make(map[[digestSize]byte]bool) // bodies that a state here tells of
	for _, p := range s.pairs {
		seq := binary.BigEndian.Uint64(p.key[1:])
		again := p.key[0] == prefixPending && !s.appends[seq] && !tail
		var body siftedBody
		hasBody := false
		v, err := parseValue(p.value)
		switch {
		case err == nil && len(v.digest) == digestSize:
			body, hasBody = s.bodies[[digestSize]byte(v.digest)]
			if hasBody {
				described[[digestSize]byte(v.digest)] = true
				seq = j.likelier(seq, body.seq, v.digest, bound)
			}
		case again:
			v = value{}
		default:
			continue
		}
		found++
		if seq == 0 || seq > bound || seq <= metaTrimmed.readable(j) {
			continue
		}
		switch known, err := j.Find(seq); {
		case err == nil && again:
			pending, err := j.pendAgain(b, known, v)
			if err != nil {
				return found, saved, err
			}
			if pending {
				saved++
			}
			continue
		case !errors.Is(err, ErrNotFound), v.digest == nil:
			// What is known of a record already is not older than this, unless it is a
			// mark that was not in time; that costs a repeat.
			continue
		}
		err = b.Set(seqKey(p.key[0], seq), p.value, nil)
		switch {
		case p.key[0] == prefixPublished && v.streamSeq != 0:
			err = errors.Join(err, setSeq(b, prefixStream, v.streamSeq, binary.BigEndian.AppendUint64(nil, seq)))
		case p.key[0] != prefixPublished && v.key != "": // it was appended with its key
			seen := value{appended: v.appended, seq: seq, digest: v.digest}
			err = errors.Join(err, b.Set(seenKey(v.key), seen.append(nil), nil))
		}
		if hasBody {
			saved++
			err = errors.Join(err, b.Set(seqKey(prefixBody, seq), body.bytes, nil))
		}
		if err != nil {
			return found, saved, err
		}
	}
	if !tail {
		// A body without a state is of a record whose state is damaged. It is lost, and the
		// body makes the report say so, also where no later record leaves a gap.
		for sum, body := range s.bodies {
			if described[sum] || body.seq == 0 || body.seq > bound || body.seq <= metaTrimmed.readable(j) {
				continue
			}
			if _, err := j.Find(body.seq); errors.Is(err, ErrNotFound) {
				if err := b.Set(seqKey(prefixBody, body.seq), body.bytes, nil); err != nil {
					return found, saved, err
				}
			}
		}
		for _, key := range s.freed {
			if _, err := j.get(key); err != nil {
				continue // no key, but bytes that look like one
			}
			found++
			if err := b.Delete(key, nil); err != nil {
				return found, saved, err
			}
		}
	}
	return found, saved, j.write(func() error { return j.db.Apply(b, pebble.NoSync) })
}

// likelier is the sequence of a record of which the key of its state, in a damaged batch, says
// seq, and the key of its body ofBody: one of them may be wrong.
func (j *Journal) likelier(seq, ofBody uint64, sum []byte, bound uint64) uint64 {
	switch known, err := j.Find(seq); {
	case seq == 0 || seq > bound:
		return ofBody
	case err == nil && !bytes.Equal(known.Digest, sum): // it is another record's
		return ofBody
	case errors.Is(err, ErrNotFound) && ofBody != 0 && ofBody < seq:
		// Where two records here have the same body, ofBody is of the later one.
		if _, err := j.Find(ofBody); errors.Is(err, ErrNotFound) {
			return ofBody
		}
	}
	return seq
}

// pendAgain makes a record pending of which a damaged batch has a pending key and no body:
// it is from an Unpublish or a Requeue. Without it, a record that the stream has lost would
// count as published. v is its value there, when that is whole.
func (j *Journal) pendAgain(b *pebble.Batch, known Entry, v value) (bool, error) {
	if known.State != Published && known.State != Dead {
		return false, nil
	}
	body, err := j.Body(known.Seq)
	if sum := digest(body); err != nil || !bytes.Equal(sum[:], known.Digest) {
		return false, nil // it could not be sent again
	}
	if !bytes.Equal(v.digest, known.Digest) {
		v = known.value()
	}
	if known.State == Published {
		if owns, err := j.ownsPosition(known.StreamSeq, known.Seq); err == nil && owns {
			if err := deleteSeq(b, prefixStream, known.StreamSeq); err != nil {
				return false, err
			}
		}
	}
	return true, errors.Join(
		deleteSeq(b, prefixPublished, known.Seq),
		move(b, known.Seq, prefixDead, prefixPending, &v),
	)
}

// sequenceBound is what no sequence in the next batch of the log can be above, though a
// few batches before it were lost.
func (j *Journal) sequenceBound() (uint64, error) {
	bound := metaNext.readable(j)
	for _, prefix := range []byte{prefixPending, prefixPublished, prefixDead} {
		last, _, err := j.lastSeq(prefix)
		if err != nil {
			return 0, err
		}
		bound = max(bound, last)
	}
	return bound + 8*maxBatch, nil
}
