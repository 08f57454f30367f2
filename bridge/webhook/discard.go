package webhook

import (
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// remainder is the part of a request's body that nobody has read when the request is
// refused.
//
// A server that answers and closes while the client still sends makes the client's
// kernel throw the answer away: the client reads a reset. net/http reads the remainder
// itself, but only up to 256 KB and never for a client that says "Connection: close" or
// speaks HTTP/1.0. A reverse proxy that reads a reset takes the bridge out of its
// rotation and answers good events with 502. So the remainder is read and thrown away
// in three steps:
//
//  1. Before the answer, up to server.max_body_bytes and for a short time.
//  2. The answer, with "Connection: close" when the body has not ended.
//  3. After it, for a shorter time, so that the client can read the answer while it
//     still sends.
//
// A client that asks with "Expect: 100-continue" has sent nothing yet: it gets the
// answer at once.
type remainder struct {
	body    io.Reader
	control *http.ResponseController
	ended   bool
	reading reading
}

func newRemainder(c echo.Context) *remainder {
	r := c.Request()
	return &remainder{
		body:    r.Body,
		control: http.NewResponseController(c.Response().Writer),
		ended:   r.Body == nil || r.Body == http.NoBody || r.Header.Get("Expect") != "",
	}
}

// discard throws r away, in one of the places for reading.
func (s *Server) discard(c echo.Context, r *remainder, atMost int64, within time.Duration) {
	if r.ended {
		return
	}
	// Not every ResponseWriter has a deadline: a test's has no connection either.
	_ = r.control.SetReadDeadline(time.Now().Add(within))
	s.beginReading(c, &r.reading)
	r.discard(atMost)
	s.readings.end(&r.reading)
}

// discard throws away up to so many bytes, and notes whether the body has ended.
func (r *remainder) discard(atMost int64) {
	buffer := discarded.Get().(*[]byte)
	defer discarded.Put(buffer)
	for atMost >= 0 {
		n, err := r.body.Read(*buffer)
		r.reading.bytes.Add(int64(n))
		if atMost -= int64(n); err != nil {
			r.ended = err == io.EOF
			return
		}
	}
}

var discarded = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}
