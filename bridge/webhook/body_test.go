package webhook

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// endless gives so many bytes without holding them.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.left)
	e.left -= n
	return n, nil
}

type readCloser struct{ io.Reader }

func (readCloser) Close() error { return nil }

func TestBodiesRead(t *testing.T) {
	const limit = 1 << 20
	for name, tt := range map[string]struct {
		size     int
		declared int64
		want     error
	}{
		"nothing":                      {0, 0, nil},
		"an event":                     {2 << 10, 2 << 10, nil},
		"an event, chunked":            {2 << 10, -1, nil},
		"larger than the pool's":       {200 << 10, 200 << 10, nil},
		"larger, chunked":              {200 << 10, -1, nil},
		"at the limit":                 {limit, limit, nil},
		"at the limit, chunked":        {limit, -1, nil},
		"over the limit, chunked":      {limit + 1, -1, errTooLarge},
		"declared small, never-ending": {100 << 20, 10, errTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			p := newBodies(limit)
			spare := p.spare.Load()
			for _, wrap := range []func(io.Reader) io.Reader{iotest.HalfReader, iotest.DataErrReader} {
				b := p.get()
				err := p.read(b, wrap(&endless{left: tt.size}), tt.declared)
				if !errors.Is(err, tt.want) {
					t.Errorf("error: got %v, want %v", err, tt.want)
				}
				if err == nil && len(b.bytes) != tt.size {
					t.Errorf("got %d bytes, want %d", len(b.bytes), tt.size)
				}
				if cap(b.bytes) > limit+limit/4 {
					t.Errorf("buffer of %d for a limit of %d", cap(b.bytes), limit)
				}
				p.release(b)
				if got := p.spare.Load(); got != spare {
					t.Errorf("spare memory afterwards: got %d, want %d", got, spare)
				}
			}
		})
	}
}

// A client that announces a large body and sends a byte holds no large buffer.
func TestBodiesAllocateWhatArrives(t *testing.T) {
	p := newBodies(4 << 20)
	b := p.get()
	if err := p.read(b, iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("xx"))), 4<<20); !errors.Is(err, errCutShort) {
		t.Errorf("error: got %v, want %v", err, errCutShort)
	}
	if cap(b.bytes) > smallBody {
		t.Errorf("one byte holds %d", cap(b.bytes))
	}
}

func TestBodiesTogether(t *testing.T) {
	p := newBodies(1 << 20)
	p.spare.Store(3 << 20)
	var held []*body
	for range 2 {
		b := p.get()
		if err := p.read(b, &endless{left: 1 << 20}, 1<<20); err != nil {
			t.Fatalf("read: %v", err)
		}
		held = append(held, b)
	}
	b := p.get()
	if err := p.read(b, &endless{left: 1 << 20}, 1<<20); err != nil {
		// Three bodies with their byte of room are more than 3 MiB.
		if !errors.Is(err, errNoMemory) {
			t.Errorf("third: got %v, want %v", err, errNoMemory)
		}
		p.release(b)
	} else {
		t.Error("a third body was read beyond the bound")
	}
	b = p.get()
	if err := p.read(b, &endless{left: 2 << 10}, 2<<10); err != nil {
		t.Errorf("an ordinary event meanwhile: %v", err)
	} else {
		p.release(b)
	}
	for _, b := range held {
		p.release(b)
	}
	if got := p.spare.Load(); got != 3<<20 {
		t.Errorf("spare memory afterwards: got %d, want %d", got, 3<<20)
	}
}
