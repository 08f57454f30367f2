package journal

import (
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
		found, saved, err := j.applySifted(r.data)
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
// is held against what is known, and a wrong sequence is found by the body's digest. Only
// records of which nothing is known are taken: the bytes may be those of an older batch,
// or of what the file held as an earlier log.
//
// found counts the states of records that could be read, whether or not they were taken;
// saved those that were taken with their bodies.
func (j *Journal) applySifted(data []byte) (found, saved int, err error) {
	b := j.db.NewBatch()
	defer b.Close()
	bound, err := j.sequenceBound()
	if err != nil {
		return 0, 0, err
	}
	type body struct {
		seq   uint64
		bytes []byte
	}
	bodies := make(map[[digestSize]byte]body)
	pairs := sift(data)
	for _, p := range pairs {
		if p.key[0] == prefixBody {
			bodies[digest(p.value)] = body{binary.BigEndian.Uint64(p.key[1:]), p.value}
		}
	}
	for _, p := range pairs {
		v, err := parseValue(p.value)
		if p.key[0] == prefixBody || err != nil || len(v.digest) != digestSize {
			continue
		}
		found++
		seq := binary.BigEndian.Uint64(p.key[1:])
		body, hasBody := bodies[[digestSize]byte(v.digest)]
		if hasBody && (seq == 0 || seq > bound) {
			seq = body.seq
		}
		if seq == 0 || seq > bound || seq <= metaTrimmed.readable(j) {
			continue
		}
		// What is known of a record already is not older than this, unless it is a mark
		// that was not in time; that costs a repeat. The other way round an event that
		// was made pending again would be lost.
		if _, err := j.Find(seq); !errors.Is(err, ErrNotFound) {
			continue
		}
		err = b.Set(seqKey(p.key[0], seq), p.value, nil)
		if p.key[0] == prefixPublished && v.streamSeq != 0 {
			err = errors.Join(err, setSeq(b, prefixStream, v.streamSeq, binary.BigEndian.AppendUint64(nil, seq)))
		}
		if hasBody {
			saved++
			err = errors.Join(err, b.Set(seqKey(prefixBody, seq), body.bytes, nil))
		}
		if err != nil {
			return found, saved, err
		}
	}
	return found, saved, j.write(func() error { return j.db.Apply(b, pebble.NoSync) })
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

// setKind is how a batch marks that a key is set.
const setKind = 1

// pair is a key with its value, out of a damaged batch.
type pair struct{ key, value []byte }

// sift finds, in bytes of which any may be wrong, the keys of records with what
// seems to be their value. Whether it is, its checksum or digest has to tell.
func sift(data []byte) []pair {
	var pairs []pair
	for i := 0; i+11 < len(data); i++ {
		if data[i] != setKind || data[i+1] != 9 {
			continue
		}
		switch data[i+2] {
		case prefixBody, prefixPending, prefixPublished, prefixDead:
		default:
			continue
		}
		length, n := binary.Uvarint(data[i+11:])
		from := i + 11 + n
		if n <= 0 || length > uint64(len(data)-from) {
			continue
		}
		pairs = append(pairs, pair{data[i+2 : i+11], data[from : from+int(length)]})
	}
	return pairs
}
