package journal

import "encoding/binary"

// How a batch marks what is done with the key that follows.
const (
	deleteKind = 0
	setKind    = 1
)

// pair is a key of a record with its value, out of a damaged batch. The value is nil when
// its length cannot be right.
type pair struct{ key, value []byte }

// sifted is what the bytes of a damaged batch seem to be. The checksum of a value, or the
// digest of a body, has to tell whether that is true.
type sifted struct {
	pairs   []pair                          // the states of records
	bodies  map[[digestSize]byte]siftedBody // by their digests
	appends map[uint64]bool                 // sequences that have a body here, whole or not
	freed   [][]byte                        // seen keys that are deleted here
}

type siftedBody struct {
	seq   uint64
	bytes []byte
}

func siftBatch(data []byte) sifted {
	s := sifted{bodies: make(map[[digestSize]byte]siftedBody), appends: make(map[uint64]bool)}
	for i := 0; i+11 <= len(data); i++ {
		switch {
		case data[i] == setKind && data[i+1] == 9:
			s.siftSet(data[i+2:])
		case data[i] == deleteKind:
			s.siftDelete(data[i+1:])
		}
	}
	return s
}

// siftSet takes a set of a record's key, whose nine bytes data begins with.
func (s *sifted) siftSet(data []byte) {
	key := data[:9]
	seq := binary.BigEndian.Uint64(key[1:])
	var value []byte
	if length, n := binary.Uvarint(data[9:]); n > 0 && length <= uint64(len(data)-9-n) {
		value = data[9+n : 9+n+int(length)]
	}
	switch key[0] {
	case prefixBody:
		s.appends[seq] = true
		if value != nil {
			s.bodies[digest(value)] = siftedBody{seq, value}
		}
	case prefixPending, prefixPublished, prefixDead:
		s.pairs = append(s.pairs, pair{key, value})
	}
}

// siftDelete takes a delete of a seen key; data begins with its length.
func (s *sifted) siftDelete(data []byte) {
	length, n := binary.Uvarint(data)
	if n > 0 && length > 1 && length <= uint64(len(data)-n) && data[n] == prefixSeen {
		s.freed = append(s.freed, data[n:n+int(length)])
	}
}
