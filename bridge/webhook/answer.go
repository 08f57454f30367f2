package webhook

import (
	"errors"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
)

var (
	errNoPath       = &refusal{code: http.StatusNotFound, reason: NotFound, text: "unknown path"}
	errNoSource     = &refusal{code: http.StatusNotFound, reason: NotFound, text: "unknown source"}
	errMethod       = &refusal{code: http.StatusMethodNotAllowed, reason: WrongMethod, text: "method not allowed"}
	errAddress      = &refusal{code: http.StatusForbidden, reason: BadAddress, text: "address not allowed"}
	errInFlight     = &refusal{code: http.StatusServiceUnavailable, reason: TooManyInFlight, text: "too many requests in flight", retryAfter: 1}
	errReading      = &refusal{code: http.StatusServiceUnavailable, reason: TooManyReading, text: "too many requests are being sent", retryAfter: 1, closes: true, cut: true}
	errBodyMemory   = &refusal{code: http.StatusServiceUnavailable, reason: NoBodyMemory, text: "too many large requests in flight", retryAfter: 1, closes: true}
	errCompressed   = &refusal{code: http.StatusUnsupportedMediaType, reason: CompressedBody, text: "compressed bodies are not taken: send the body as it was signed"}
	errBodyTooLarge = &refusal{code: http.StatusRequestEntityTooLarge, reason: BodyTooLarge, text: "body too large", closes: true}
	errBodyCutShort = &refusal{code: http.StatusBadRequest, reason: BodyIncomplete, text: "body incomplete", closes: true, cut: true}
	errDraining     = &refusal{code: http.StatusServiceUnavailable, reason: Stopping, text: "shutting down", retryAfter: 5, closes: true}
	errPanic        = &refusal{code: http.StatusServiceUnavailable, reason: Panicked, text: "not accepted", retryAfter: 5, closes: true}
)

// unreadable is the answer to an error of bodies.read.
func unreadable(err error) *refusal {
	switch {
	case errors.Is(err, errTooLarge):
		return errBodyTooLarge
	case errors.Is(err, errNoMemory):
		return errBodyMemory
	}
	return errBodyCutShort
}

// taken is the JSON of a 2xx.
func taken(outcome bridge.Outcome, id string) []byte {
	b := make([]byte, 0, 128)
	b = append(append(append(b, `{"status":"`...), outcome.String()...), `","id":`...)
	// An id is visible ASCII, for which Go's quotes are JSON's.
	return append(strconv.AppendQuote(b, id), '}')
}

// refused is the JSON of all other answers.
func refused(text string) []byte {
	b := append(make([]byte, 0, 64), `{"error":`...)
	return append(strconv.AppendQuote(b, text), '}')
}

func (s *Server) answer(c echo.Context, code int, text []byte) error {
	if s.draining.Load() {
		// Also where the request itself was in time: the next one on this
		// connection would not be.
		c.Response().Header().Set(echo.HeaderConnection, "close")
	}
	return c.Blob(code, echo.MIMEApplicationJSON, text)
}

// refuse is the error handler of Echo, whose own does not unwrap and knows 500.
// An error after the answer has begun is the client's going away.
func (s *Server) refuse(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	var r *refusal
	var routing *echo.HTTPError
	switch {
	case errors.As(err, &r):
	case errors.As(err, &routing) && routing.Code == http.StatusNotFound:
		r = errNoPath
	default:
		r = notTaken(err)
	}
	s.countersOf(c).rejected[r.reason].Inc()
	now := time.Now()
	s.diagnosisOf(c).refused(r, c.Request(), c.RealIP(), now)
	name := otherSource
	if g := s.sourceOf(c); g != nil {
		name = g.name
	}
	s.refusals.note(name, r, c.RealIP(), now)
	if entry := s.log.Check(zap.DebugLevel, "request refused"); entry != nil {
		entry.Write(zap.String("path", c.Request().URL.Path), zap.String("address", c.RealIP()),
			zap.Int("code", r.code), zap.String("reason", string(r.reason)), zap.String("detail", r.detail))
	}
	unread := newRemainder(c)
	if !r.cut {
		s.discard(c, unread, s.bodies.limit, s.timeouts.discard)
	}
	h := c.Response().Header()
	if r.retryAfter > 0 {
		h.Set(echo.HeaderRetryAfter, strconv.Itoa(r.retryAfter))
	}
	if r.challenge != "" {
		h.Set(echo.HeaderWWWAuthenticate, r.challenge)
	}
	if r.closes || !unread.ended {
		h.Set(echo.HeaderConnection, "close")
	}
	if err := s.answer(c, r.code, refused(r.text)); err != nil {
		s.log.Debug("answer not written", zap.Error(err))
		return
	}
	if !unread.ended && r != errReading {
		_ = unread.control.Flush()
		s.discard(c, unread, math.MaxInt64, s.timeouts.linger)
	}
}

// observe is outermost: it sees every answer, makes one of a panic, and turns all away
// before the router while draining.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		var err error = errDraining
		if s.draining.Load() {
			s.waitAtBarrier(c.Request().Context())
		} else {
			err = s.guard(next, c)
		}
		if err != nil {
			s.refuse(err, c)
		}
		s.countersOf(c).requests[c.Response().Status].Inc()
		return nil
	}
}

func (s *Server) guard(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic while taking a request", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = errPanic
		}
	}()
	return next(c)
}

// sourceOf returns the source of the request, or nil. It reads the path as
// Echo's router does, so that it also serves where a request has not been routed.
func (s *Server) sourceOf(c echo.Context) *source {
	name, ok := strings.CutPrefix(echo.GetPath(c.Request()), "/webhooks/")
	if !ok {
		return nil
	}
	// People register URLs with a slash behind them.
	return s.sources[strings.TrimSuffix(name, "/")]
}

func (s *Server) diagnosisOf(c echo.Context) *diagnosis {
	if g := s.sourceOf(c); g != nil {
		return g.diagnosis
	}
	return s.unknown
}

func (s *Server) countersOf(c echo.Context) *counters {
	if g := s.sourceOf(c); g != nil {
		return g.counters
	}
	return s.other
}
