package webhook

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

const (
	// smallBody is what one request may hold without asking. Buffers up to this
	// size are kept for the next request; an event is rarely larger.
	smallBody = 64 << 10
	firstRead = 4 << 10
	// largeBodies is what all bodies beyond smallBody may hold together. Events
	// of ordinary size are read whatever large ones are doing.
	largeBodies = 256 << 20
)

var (
	errTooLarge = errors.New("body is too large")
	errNoMemory = errors.New("no memory left for large bodies")
	errCutShort = errors.New("body ended early")
)

// bodies reads request bodies, and bounds what they hold together.
type bodies struct {
	limit int64 // of one body
	spare atomic.Int64
	pool  sync.Pool
}

func newBodies(limit int64) *bodies {
	b := &bodies{limit: limit}
	b.spare.Store(max(largeBodies, 2*limit))
	b.pool.New = func() any { return new(body) }
	return b
}

// body is the bytes of one request, and what they hold of the spare memory.
type body struct {
	bytes   []byte
	held    int64
	reading reading
}

// get returns an empty body, which has to be released.
func (p *bodies) get() *body { return p.pool.Get().(*body) }

// read reads all of r into b. The buffer grows with what has arrived, at most doubling:
// a declared length (or -1) only keeps it from growing past the end.
func (p *bodies) read(b *body, r io.Reader, declared int64) error {
	if want := min(max(declared+1, firstRead), smallBody); int64(cap(b.bytes)) < want {
		b.bytes = make([]byte, 0, want)
	}
	for {
		if len(b.bytes) == cap(b.bytes) && !p.grow(b, declared) {
			return errNoMemory
		}
		n, err := r.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		b.reading.bytes.Store(int64(len(b.bytes)))
		switch {
		case int64(len(b.bytes)) > p.limit:
			return errTooLarge
		case err == io.EOF:
			return nil
		case err != nil:
			// Why it ended, a deadline, a reset or broken chunks, does not
			// matter: what is there is not what was signed.
			return errCutShort
		}
	}
}

func (p *bodies) grow(b *body, declared int64) bool {
	size := min(2*int64(cap(b.bytes)), p.limit+1)
	if declared >= int64(len(b.bytes)) {
		// One byte more than declared, so that the end is seen without growing.
		size = min(size, declared+1)
	}
	if size = max(size, int64(len(b.bytes))+1); size > smallBody {
		if more := size - b.held; p.spare.Add(-more) < 0 {
			p.spare.Add(more)
			return false
		}
		b.held = size
	}
	grown := make([]byte, len(b.bytes), size)
	copy(grown, b.bytes)
	b.bytes = grown
	return true
}

// release ends the life of b's bytes: they belong to the next request.
func (p *bodies) release(b *body) {
	if b.held > 0 {
		p.spare.Add(b.held)
		b.bytes, b.held = nil, 0
	}
	b.bytes = b.bytes[:0]
	p.pool.Put(b)
}
