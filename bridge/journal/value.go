package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// valueVersion begins every value, a CRC-32C of the rest follows, and then that
// in protobuf's wire format: fields that a later version adds are skipped by this
// one. The store has checksums of its own, but they cover blocks of many records;
// ours let repair say of each record in a damaged block whether it is whole.
const valueVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The field numbers of the values under q, p and d. They are on disk: a number
// is never used for something else.
const (
	fieldAppended  = 1 // unix nanoseconds
	fieldKey       = 2
	fieldHeader    = 3
	fieldStreamSeq = 4 // p
	fieldAt        = 5 // p, d: unix nanoseconds
	fieldReason    = 6 // d
	fieldAttempts  = 7 // d
	fieldSeq       = 8 // s
	fieldDigest    = 9 // of the body
)

var errValue = errors.New("value is damaged")

// value is the union of what the values under q, p, d and s hold.
type value struct {
	appended  time.Time
	key       string
	header    []byte
	streamSeq uint64
	at        time.Time
	reason    string
	attempts  int
	seq       uint64
	digest    []byte
}

func (v *value) item(seq uint64) Item {
	return Item{Seq: seq, Key: v.key, Appended: v.appended, Header: v.header, Digest: v.digest}
}

func (v *value) published(seq uint64) PublishedItem {
	return PublishedItem{Item: v.item(seq), StreamSeq: v.streamSeq, At: v.at}
}

func (v *value) dead(seq uint64) DeadItem {
	return DeadItem{Item: v.item(seq), Death: Death{At: v.at, Reason: v.reason, Attempts: v.attempts}}
}

func (v *value) append(b []byte) []byte {
	start := len(b)
	b = slices.Grow(b, 64+len(v.key)+len(v.header)+len(v.reason)+len(v.digest)) // 64: all numbers
	b = append(b, valueVersion, 0, 0, 0, 0)
	b = appendTime(b, fieldAppended, v.appended)
	if v.key != "" {
		b = protowire.AppendTag(b, fieldKey, protowire.BytesType)
		b = protowire.AppendString(b, v.key)
	}
	if v.header != nil {
		b = protowire.AppendTag(b, fieldHeader, protowire.BytesType)
		b = protowire.AppendBytes(b, v.header)
	}
	b = appendNumber(b, fieldStreamSeq, v.streamSeq)
	b = appendTime(b, fieldAt, v.at)
	if v.reason != "" {
		b = protowire.AppendTag(b, fieldReason, protowire.BytesType)
		b = protowire.AppendString(b, v.reason)
	}
	b = appendNumber(b, fieldAttempts, uint64(v.attempts))
	b = appendNumber(b, fieldSeq, v.seq)
	if v.digest != nil {
		b = protowire.AppendTag(b, fieldDigest, protowire.BytesType)
		b = protowire.AppendBytes(b, v.digest)
	}
	binary.LittleEndian.PutUint32(b[start+1:], crc32.Checksum(b[start+5:], castagnoli))
	return b
}

func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, n)
}

func appendTime(b []byte, field protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return appendNumber(b, field, uint64(t.UnixNano()))
}

// parseValue reads b. The header and the digest of the result point into b.
func parseValue(b []byte) (value, error) {
	var v value
	if len(b) == 0 {
		return v, errValue
	}
	if b[0] != valueVersion {
		return v, fmt.Errorf("value has version %d, this program knows %d: use the program that wrote it or a newer one", b[0], valueVersion)
	}
	if len(b) < 5 || binary.LittleEndian.Uint32(b[1:]) != crc32.Checksum(b[5:], castagnoli) {
		return v, errValue
	}
	for b = b[5:]; len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return v, errValue
		}
		b = b[n:]
		var number uint64
		var bytes []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return v, errValue
		}
		b = b[n:]
		switch field {
		case fieldAppended:
			v.appended = time.Unix(0, int64(number))
		case fieldKey:
			v.key = string(bytes)
		case fieldHeader:
			v.header = bytes
		case fieldStreamSeq:
			v.streamSeq = number
		case fieldAt:
			v.at = time.Unix(0, int64(number))
		case fieldReason:
			v.reason = string(bytes)
		case fieldAttempts:
			v.attempts = int(number)
		case fieldSeq:
			v.seq = number
		case fieldDigest:
			v.digest = bytes
		}
	}
	return v, nil
}
