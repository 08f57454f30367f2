package webhook

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/oklog/ulid/v2"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// receive takes one delivery. Nothing of the body is read before the checks that can do
// without it, and only an authentic request uses up a rate or a slot.
func (s *Server) receive(c echo.Context) error {
	start := time.Now()
	r := c.Request()
	g := s.sourceOf(c)
	if g == nil {
		return errNoSource
	}
	if len(g.allow) > 0 && !g.allows(c.RealIP()) {
		return errAddress
	}
	if r.ContentLength > s.bodies.limit {
		return errBodyTooLarge
	}
	b := s.bodies.get()
	defer s.bodies.release(b)
	if err := s.read(c, b); err != nil {
		return err
	}
	now := time.Now()
	v := g.authenticator().check(r, b.bytes, now)
	if !v.OK() {
		if v.Reason == WrongSignature && compressed(r.Header, b.bytes) {
			return errCompressed
		}
		refused := unauthenticated(v)
		if g.kind == AuthBasic {
			refused.challenge = `Basic realm="persat-bridge"`
		}
		return refused
	}
	from := c.RealIP()
	g.diagnosis.verified(from, now)
	// Only what is authentic uses up the rate and the slots: a stranger has none.
	if g.limiter != nil && !g.limiter.Allow() {
		return &refusal{code: http.StatusTooManyRequests, reason: OverRate, text: "too many requests", retryAfter: g.secondsToNext()}
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		s.overloads.inFlight.hit(netip.Prefix{})
		return errInFlight
	}

	d := delivery(g.name, v, r.Header, b.bytes)
	if len(from) <= maxAddress {
		d.From = from
	}
	// The sender's going away must not undo half of what is being written, nor
	// make a 2xx out of it: Accept ends by itself or at its timeout.
	ctx, endTrace := s.trace(s.deadlines.next(now), &d, start)
	outcome, err := s.accept(ctx, connectionOf(r), d)
	if err != nil {
		b.bytes = nil // somebody may still be reading them: not for the next request
		refused := notTaken(err)
		endTrace(refused.code, string(refused.reason))
		return refused
	}
	code := http.StatusAccepted
	switch outcome {
	case bridge.Accepted, bridge.Quarantined:
	case bridge.Duplicate:
		code = http.StatusOK
	default:
		return notTaken(fmt.Errorf("accept %s: unknown outcome %d", d.ID, outcome))
	}
	endTrace(code, outcome.String())
	err = s.answer(c, code, taken(outcome, d.ID))
	g.counters.duration.Observe(time.Since(start).Seconds())
	return err
}

// maxAddress is the longest form of an IPv6 address, with a zone.
const maxAddress = 64

// read reads the whole body into b, in one of the places that there are for reading.
func (s *Server) read(c echo.Context, b *body) error {
	r := c.Request()
	s.beginReading(c, &b.reading)
	err := s.bodies.read(b, r.Body, r.ContentLength)
	if err != nil {
		r.Header.Del("Expect") // it has been answered, and the body is on its way
	}
	if end := s.readings.end(&b.reading); err != nil && end == evicted {
		return errReading
	}
	if err != nil {
		return unreadable(err)
	}
	return nil
}

// accept counts those that are at it.
func (s *Server) accept(ctx context.Context, conn *connection, d bridge.Delivery) (bridge.Outcome, error) {
	s.accepting.Add(1)
	defer s.accepting.Add(-1)
	conn.hold()
	defer conn.release()
	return s.acceptor.Accept(ctx, d)
}

// deadlines makes contexts that end when so much time has passed, or up to a second
// later: the requests of a second share one, for a timer each costs more than the rest
// of a context.
type deadlines struct {
	after time.Duration
	now   atomic.Pointer[deadline]
}

type deadline struct {
	context.Context
	cancel context.CancelFunc // not called: it ends by itself, and others may have it
	until  time.Time          // when the next one begins
}

func (d *deadlines) next(now time.Time) context.Context {
	shared := d.now.Load()
	if shared == nil || !now.Before(shared.until) {
		fresh := &deadline{until: now.Add(time.Second)}
		fresh.Context, fresh.cancel = context.WithTimeout(context.Background(), d.after+time.Second)
		if d.now.CompareAndSwap(shared, fresh) {
			return fresh
		}
		fresh.cancel()
		shared = d.now.Load()
	}
	return shared
}

// delivery is all that goes on from a request. No header passes but those named here.
func delivery(source string, v Verdict, h http.Header, body []byte) bridge.Delivery {
	d := bridge.Delivery{Source: source, ID: v.ID, Body: body, Traceparent: traceparent(h)}
	if d.ID == "" {
		if d.ID = senderID(h); d.ID == "" {
			d.ID, d.Anonymous = ulid.Make().String(), true
		}
	}
	envelope, err := persat.ReadEnvelope(body)
	if err != nil {
		d.Unusable = err.Error()
		if compressed(h, body) {
			d.Unusable = "the body is compressed, and only JSON can be published: switch compression (Content-Encoding: gzip and the like) off at the sender, or at the proxy that adds it"
		}
		return d
	}
	d.Type, d.Kind, d.Entities = envelope.Type, envelope.OrderKind(), envelope.Entities
	return d
}

// compressed reports whether a body that is not JSON, or not what was signed, is
// compressed. A Content-Encoding that a proxy left when it unpacked the body is no evidence.
func compressed(h http.Header, body []byte) bool {
	if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n\ufeff"), []byte("{")) {
		return false
	}
	coding := strings.ToLower(strings.TrimSpace(h.Get("Content-Encoding")))
	return slices.Contains([]string{"gzip", "x-gzip", "deflate", "br", "zstd", "compress"}, coding) || bytes.HasPrefix(body, []byte{0x1f, 0x8b})
}

// senderID is the delivery id of a request that did not have to be signed: a
// sender that gives one repeats it, so that its repeats can be known for what they are.
func senderID(h http.Header) string {
	for _, f := range families {
		if ids := h[f.id]; len(ids) == 1 && bridge.WellFormedID(ids[0]) {
			return ids[0]
		}
	}
	return ""
}

// traceparent returns the W3C trace context of version 00, or nothing: it goes
// into a NATS header, so its form is checked to the letter.
func traceparent(h http.Header) string {
	values := h["Traceparent"]
	if len(values) != 1 || len(values[0]) != 55 {
		return ""
	}
	v := values[0]
	ids := [2]bool{} // trace id and parent id are not all zeros
	for i := range len(v) {
		c := v[i]
		switch {
		case i == 2 || i == 35 || i == 52:
			if c != '-' {
				return ""
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return ""
		case i < 2 && c != '0':
			return ""
		case c != '0' && i > 2 && i < 35:
			ids[0] = true
		case c != '0' && i > 35 && i < 52:
			ids[1] = true
		}
	}
	if !ids[0] || !ids[1] {
		return ""
	}
	return v
}

// readiness is for load balancers that check the port to which they send. It says less
// than the operators' listener does.
func (s *Server) readiness(c echo.Context) error {
	if r := c.Request(); r.Method != http.MethodGet && r.Method != http.MethodHead {
		c.Response().Header().Set(echo.HeaderAllow, "GET, HEAD")
		return errMethod
	}
	if s.ready() != nil {
		c.Response().Header().Set(echo.HeaderRetryAfter, "5")
		return s.answer(c, http.StatusServiceUnavailable, refused("not ready"))
	}
	return s.answer(c, http.StatusOK, []byte(`{"status":"ready"}`))
}

// refuseMethod answers everything but POST. Which methods a path has is nobody's
// business while the path itself is unknown.
func (s *Server) refuseMethod(c echo.Context) error {
	if s.sourceOf(c) == nil {
		return errNoSource
	}
	c.Response().Header().Set(echo.HeaderAllow, http.MethodPost)
	return errMethod
}
