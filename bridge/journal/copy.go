package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// recordCopy is a record on its way from a damaged journal into a new one.
type recordCopy struct {
	seq    uint64
	prefix byte // its state
	v      value
	body   []byte // nil when there is none
	owns   bool   // its stream sequence is its own
	seen   bool   // its key is taken
}

// copyRecord reads one record in its state, when that is whole.
func (j *Journal) copyRecord(seq uint64, report *Report) (c recordCopy, ok bool) {
	for _, prefix := range []byte{prefixPublished, prefixDead, prefixPending} {
		v, err := j.state(prefix, seq)
		if err != nil {
			continue
		}
		c := recordCopy{seq: seq, prefix: prefix, v: v}
		j.copyBody(&c, report)
		j.copyPosition(&c)
		c.seen = j.keepsKey(&c, len(report.Notes) > 0)
		return c, true
	}
	return recordCopy{}, false
}

// copyBody reads the record's body. A record that is to be published and has none becomes
// a dead letter, whose key is free for the sender's next attempt.
func (j *Journal) copyBody(c *recordCopy, report *Report) {
	body, err := j.Body(c.seq)
	sum := digest(body)
	switch {
	case err == nil && bytes.Equal(sum[:], c.v.digest):
		c.body = body
	case c.prefix == prefixPublished:
		if !errors.Is(err, ErrNotFound) { // else retention took it
			report.Bodiless = append(report.Bodiless, c.v.item(c.seq).Clone())
		}
	default:
		report.Damaged = append(report.Damaged, c.v.item(c.seq).Clone())
		c.prefix, c.body = prefixDead, body
		c.v.key = ""
		c.v.at, c.v.reason = time.Now(), "damaged on the disk of the bridge: ask the sender to send this delivery again, and discard this one"
	}
}

// copyPosition finds out whether the stream sequence of a published record is its own. When
// the stream gave it to another record since, the stream has lost this one: it is pending,
// though its move was in a damaged batch.
func (j *Journal) copyPosition(c *recordCopy) {
	if c.prefix != prefixPublished || c.v.streamSeq == 0 {
		return
	}
	owner, err := j.ownerSeq(c.v.streamSeq)
	c.owns = err == nil && owner == c.seq || err != nil && !errors.Is(err, ErrNotFound)
	if c.owns || err != nil || c.body == nil {
		return
	}
	other, err := j.Published(owner)
	if err != nil || other.StreamSeq != c.v.streamSeq || other.Key != "" && other.Key == c.v.key || !j.markedInThisStream(c.v.at) {
		return
	}
	c.prefix = prefixPending
	c.v.streamSeq, c.v.at = 0, time.Time{}
}

// markedInThisStream says whether a mark of that time is of the stream that the positions
// are of: the first of them was marked before. A record of a stream before has no position,
// and needs none.
func (j *Journal) markedInThisStream(at time.Time) bool {
	first, err := j.PositionsFrom(0, 1)
	if err != nil || len(first) == 0 {
		return false
	}
	p, err := j.Published(first[0].Seq)
	return err == nil && p.At.Before(at)
}

// keepsKey says whether the record's key is taken. A key that was set free stays free: its
// sender has been asked to send the delivery again. Where the key cannot be read, or its
// append may have been in a damaged batch, a record that the stream has keeps it.
func (j *Journal) keepsKey(c *recordCopy, damage bool) bool {
	if c.v.key == "" {
		return false
	}
	b, err := j.get(seenKey(c.v.key))
	if err == nil {
		v, err := parseValue(b)
		if err == nil {
			return v.seq == c.seq
		}
	} else if errors.Is(err, ErrNotFound) {
		return c.owns && damage
	}
	return c.owns || c.body != nil
}

// put writes the record.
func (c *recordCopy) put(b *pebble.Batch) error {
	err := setSeq(b, c.prefix, c.seq, c.v.append(nil))
	if c.body != nil {
		err = errors.Join(err, setSeq(b, prefixBody, c.seq, c.body))
	}
	if c.owns {
		err = errors.Join(err, setSeq(b, prefixStream, c.v.streamSeq, binary.BigEndian.AppendUint64(nil, c.seq)))
	}
	if c.seen {
		seen := value{appended: c.v.appended, seq: c.seq, digest: c.v.digest}
		err = errors.Join(err, b.Set(seenKey(c.v.key), seen.append(nil), nil))
	}
	return err
}

// count counts a record that was saved.
func (r *Report) count(prefix byte) {
	switch prefix {
	case prefixPending:
		r.Pending++
	case prefixPublished:
		r.Published++
	case prefixDead:
		r.Dead++
	}
}
