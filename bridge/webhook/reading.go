package webhook

import (
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	// maxReading bounds the bodies that are read at once. Each holds smallBody at most,
	// beside what large ones share.
	maxReading = 2048
	// maxStreams bounds the requests of one HTTP/2 connection.
	maxStreams = 32
	// silentTicks is how many seconds a body may bring no byte.
	silentTicks = 5
)

// readings are the requests whose bodies are being read. They are counted apart from
// those in Accept: a stranger without a secret can send a body as slowly as it likes,
// and must not take the slot of a delivery by it.
//
// There is room for so many. When it is full, the next one takes the place of the
// request that has been read longest, of the network that has most of them. An ordinary
// event is read in milliseconds, so a client that loses its place is one that sends
// slowly, or one of very many from the same network.
type readings struct {
	limit int

	mu        sync.Mutex
	newest    *reading // a ring through all; nil when there are none
	count     int
	byNetwork map[netip.Prefix]int
}

// reading is one of them.
type reading struct {
	network    netip.Prefix
	writer     http.ResponseWriter // has the deadline of the request
	ended      readingEnd
	prev, next *reading

	bytes atomic.Int64 // read so far
	seen  int64        // bytes at the last tick
	quiet int          // ticks without a byte
}

// beginReading takes a place to read the body of c's request.
func (s *Server) beginReading(c echo.Context, r *reading) {
	if from, cut := s.readings.begin(r, networkOf(c.RealIP()), c.Response().Writer); cut {
		s.overloads.reading.hit(from)
	}
}

// readingEnd says who has ended a reading.
type readingEnd int

const (
	byClient readingEnd = iota
	evicted             // its place was needed
	silent              // it brought nothing for too long
)

func newReadings(limit int) *readings {
	return &readings{limit: limit, byNetwork: make(map[netip.Prefix]int)}
}

// begin takes a place for r. When another reading lost its place for it, cut is true and
// from the network of that one.
func (rs *readings) begin(r *reading, network netip.Prefix, w http.ResponseWriter) (from netip.Prefix, cut bool) {
	*r = reading{network: network, writer: w}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.count >= rs.limit {
		v := rs.victim()
		from, cut = v.network, true
		rs.cut(v, evicted)
	}
	if rs.newest == nil {
		r.prev, r.next = r, r
	} else {
		r.prev, r.next = rs.newest, rs.newest.next
		r.prev.next, r.next.prev = r, r
	}
	rs.newest = r
	rs.count++
	rs.byNetwork[network]++
	return from, cut
}

// end gives the place back. Nobody touches the request's deadline after it has returned.
func (rs *readings) end(r *reading) readingEnd {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.remove(r)
	r.writer = nil
	return r.ended
}

// tick is called once a second. It ends the readings that have been silent.
func (rs *readings) tick() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	var found []*reading
	for i, r := 0, rs.newest; i < rs.count; i, r = i+1, r.prev {
		if bytes := r.bytes.Load(); bytes != r.seen {
			r.seen, r.quiet = bytes, 0
		} else if r.quiet++; r.quiet > silentTicks {
			found = append(found, r)
		}
	}
	for _, r := range found {
		rs.cut(r, silent)
	}
}

// victim is the oldest reading of the network with the most. rs is not empty.
func (rs *readings) victim() *reading {
	most := 0
	for _, n := range rs.byNetwork {
		most = max(most, n)
	}
	oldest := rs.newest.next
	for r := oldest; ; r = r.next {
		if rs.byNetwork[r.network] == most {
			return r
		}
	}
}

// cut makes r's next read fail.
func (rs *readings) cut(r *reading, why readingEnd) {
	rs.remove(r)
	r.ended = why
	_ = http.NewResponseController(r.writer).SetReadDeadline(time.Unix(1, 0))
}

// remove takes r out of the ring; it may be out already.
func (rs *readings) remove(r *reading) {
	if r.next == nil {
		return
	}
	r.prev.next, r.next.prev = r.next, r.prev
	switch {
	case r.next == r:
		rs.newest = nil
	case rs.newest == r:
		rs.newest = r.prev
	}
	r.prev, r.next = nil, nil
	rs.count--
	if rs.byNetwork[r.network]--; rs.byNetwork[r.network] == 0 {
		delete(rs.byNetwork, r.network)
	}
}

// networkOf is the network that an address belongs to, as far as providers give them
// out: /24, and /48 of IPv6. Text that is no address is the zero network.
func networkOf(address string) netip.Prefix {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	network, _ := addr.Prefix(bits)
	return network
}
