package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Record is what Append stores.
type Record struct {
	// Key names the record for dedup; a record without one is never a repeat.
	Key string
	// Header is what its owner needs to know without reading the body. The
	// journal does not look into it.
	Header []byte
	// Body is kept apart from the header.
	Body []byte
	// Dead, when set, makes the record a dead letter from the start.
	Dead *Death
}

// Death says why a record will not be published.
type Death struct {
	At       time.Time
	Reason   string
	Attempts int
}

// Item is a stored record without its body.
type Item struct {
	Seq      uint64
	Key      string
	Appended time.Time
	Header   []byte
	// Digest is of the body: the first 16 bytes of its SHA-256.
	Digest []byte
}

// Clone makes an Item that stays valid when the iteration goes on.
func (i Item) Clone() Item {
	i.Header, i.Digest = bytes.Clone(i.Header), bytes.Clone(i.Digest)
	return i
}

// value is what a record has in every state.
func (i Item) value() value {
	return value{appended: i.Appended, key: i.Key, header: i.Header, digest: i.Digest}
}

// PublishedItem is a record that JetStream acknowledged.
type PublishedItem struct {
	Item
	// StreamSeq is the message's sequence in the stream; 0 of a dead letter that an operator
	// has discarded.
	StreamSeq uint64
	At        time.Time
}

// DeadItem is a dead letter.
type DeadItem struct {
	Item
	Death
}

// The prefixes of the key space; doc.go has the table.
const (
	prefixBody      = 'b'
	prefixPending   = 'q'
	prefixPublished = 'p'
	prefixDead      = 'd'
	prefixSeen      = 's'
	prefixStream    = 't'
	prefixMeta      = 'm'
)

// seqKey is the key of a record under a prefix. Big endian keeps key order and
// sequence order the same.
func seqKey(prefix byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, seq)
}

// setSeq sets the key of a record under a prefix, straight into the batch's memory.
func setSeq(batch *pebble.Batch, prefix byte, seq uint64, value []byte) error {
	d := batch.SetDeferred(9, len(value))
	d.Key[0] = prefix
	binary.BigEndian.PutUint64(d.Key[1:], seq)
	copy(d.Value, value)
	return d.Finish()
}

// deleteSeq deletes the key of a record under a prefix, in the same way.
func deleteSeq(batch *pebble.Batch, prefix byte, seq uint64) error {
	d := batch.DeleteDeferred(9)
	d.Key[0] = prefix
	binary.BigEndian.PutUint64(d.Key[1:], seq)
	return d.Finish()
}

func seqOf(key []byte) (uint64, error) {
	if len(key) != 9 {
		return 0, fmt.Errorf("key %q: %w", key, errValue)
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

func seenKey(key string) []byte { return append([]byte{prefixSeen}, key...) }
