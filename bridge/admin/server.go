package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/reason"
)

// Bridge is what the listener shows, and what it changes. It is implemented by
// *bridge.Bridge, whose methods say what each does.
type Bridge interface {
	Ready() error
	Status(ctx context.Context) bridge.Status
	Stream(ctx context.Context) (bridge.StreamInfo, error)
	RecreateStream(ctx context.Context) error
	Events(ctx context.Context, q bridge.EventQuery) (bridge.EventList, error)
	Event(record uint64) (bridge.Record, error)
	DeadLetters(f bridge.Filter, after uint64, limit int) (int, []bridge.Record, error)
	EachDeadLetter(f bridge.Filter, each func(bridge.Record)) error
	ReplayDead(ctx context.Context, f bridge.Filter) (replayed, refused int, err error)
	DiscardDead(ctx context.Context, f bridge.Filter) (int, error)
	CountReplay(ctx context.Context, f bridge.Filter) (int, error)
	StartReplay(ctx context.Context, f bridge.Filter) (bridge.Replay, error)
	ReplayNow() *bridge.Replay
	Retry(ctx context.Context) error
	CancelReplay()
}

var _ Bridge = (*bridge.Bridge)(nil)

// Options configure a Server.
type Options struct {
	// Listen is the address the server will have; it decides whether a token
	// is needed.
	Listen string
	// Token is what all but health, metrics and the page's own files ask for. It may be
	// empty when Listen is a loopback address.
	Token string
	// Pprof serves /debug/pprof/.
	Pprof bool
	// Version is shown on the page.
	Version  string
	Gatherer prometheus.Gatherer
	Log      *zap.Logger
	// Level is what Log writes, for /api/log to change; nil leaves that out.
	Level *zap.AtomicLevel
	// Learn compares the newest bodies, so many at most (0: all), with the catalogue of
	// the sender's events, for /api/learn; its answer becomes JSON. nil leaves that out.
	Learn func(ctx context.Context, since time.Time, limit int) (any, error)
	// Endpoints are where the sources deliver to, and Refused what was refused there, the
	// newest first; both for /api/intake.
	Endpoints []Endpoint
	Refused   func() []RefusedRequests
}

// Server is the operators' listener. It serves until Serve's context ends.
type Server struct {
	o       Options
	bridge  Bridge
	history *history
	echo    *echo.Echo
	// searching has room for the one search that may run.
	searching chan struct{}
	// lastStream is for when NATS is away.
	lastStream atomic.Pointer[knownStream]
}

// ErrNeedsToken: the listener would be reachable from elsewhere, unguarded.
var ErrNeedsToken = errors.New("admin.listen is not on loopback: set admin.token or admin.token_file")

// New checks the options; it starts nothing.
func New(o Options, b Bridge) (*Server, error) {
	if o.Token == "" && !loopback(o.Listen) {
		return nil, ErrNeedsToken
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	s := &Server{o: o, bridge: b, history: newHistory(o.Gatherer), echo: echo.New(), searching: make(chan struct{}, 1)}
	if err := s.routes(); err != nil {
		return nil, err
	}
	return s, nil
}

// loopback says whether a listener on address is reachable only from this host.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// reads are the methods of what probes and people look at; some of them send HEAD.
var reads = []string{http.MethodGet, http.MethodHead}

func (s *Server) routes() error {
	e := s.echo
	e.HTTPErrorHandler = s.refuse
	e.Use(readBody)
	e.Match(reads, "/livez", func(c echo.Context) error { return c.String(http.StatusOK, "ok\n") })
	e.Match(reads, "/readyz", s.ready)
	e.Match(reads, "/healthz", s.ready)
	if s.o.Gatherer != nil {
		e.Match(reads, "/metrics", echo.WrapHandler(promhttp.HandlerFor(s.o.Gatherer, promhttp.HandlerOpts{})))
	}
	// Not with a group's middleware: Echo then answers 404 where only the method is wrong.
	api := func(method, path string, h echo.HandlerFunc) {
		e.Add(method, "/api"+path, h, s.rebindGuard, sameOrigin, s.authenticate, noStore)
	}
	api(http.MethodGet, "/status", s.status)
	api(http.MethodGet, "/stream", s.stream)
	api(http.MethodPost, "/stream/recreate", s.recreateStream)
	api(http.MethodPost, "/retry", s.retry)
	api(http.MethodGet, "/history", s.pastHour)
	api(http.MethodGet, "/events", s.events)
	api(http.MethodGet, "/events/:record", s.event)
	api(http.MethodGet, "/intake", s.intake)
	api(http.MethodGet, "/dead", s.deadLetters)
	api(http.MethodGet, "/dead/groups", s.deadGroups)
	api(http.MethodPost, "/dead/replay", s.replayDead)
	api(http.MethodPost, "/dead/discard", s.discardDead)
	api(http.MethodGet, "/replay", s.replayNow)
	api(http.MethodPost, "/replay", s.startReplay)
	api(http.MethodDelete, "/replay", s.cancelReplay)
	if s.o.Learn != nil {
		api(http.MethodGet, "/learn", s.learn)
	}
	if s.o.Level != nil {
		api(http.MethodGet, "/log", s.logLevel)
		api(http.MethodPut, "/log", s.setLogLevel)
	}
	if s.o.Pprof {
		debug := e.Group("/debug/pprof", s.rebindGuard, s.authenticate)
		debug.GET("/cmdline", echo.WrapHandler(http.HandlerFunc(pprof.Cmdline)))
		debug.GET("/profile", echo.WrapHandler(http.HandlerFunc(pprof.Profile)))
		debug.GET("/symbol", echo.WrapHandler(http.HandlerFunc(pprof.Symbol)))
		debug.GET("/trace", echo.WrapHandler(http.HandlerFunc(pprof.Trace)))
		debug.GET("/*", echo.WrapHandler(http.HandlerFunc(pprof.Index)))
	}
	return pageRoutes(e)
}

// Handler is the server's handler, for those who bring their own listener.
func (s *Server) Handler() http.Handler { return s.echo }

// Serve answers on l until ctx ends, and keeps the history meanwhile.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	sampling, stopSampling := context.WithCancel(ctx)
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		var filling sync.WaitGroup
		if s.bridge != nil {
			filling.Go(func() { s.history.minutes.fill(sampling, s.bridge, s.history.started) })
		}
		s.history.run(sampling)
		filling.Wait()
	}()
	defer func() { stopSampling(); <-sampled }()
	hs := &http.Server{Handler: s.echo, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 75 * time.Second, ErrorLog: zap.NewStdLog(zap.NewNop())}
	served := make(chan error, 1)
	go func() { served <- hs.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve admin on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if hs.Shutdown(bound) != nil {
		hs.Close() // a profile or a watching page may hold on; nothing is lost by it
	}
	<-served
	return nil
}

func (s *Server) ready(c echo.Context) error {
	if err := s.bridge.Ready(); err != nil {
		return c.String(http.StatusServiceUnavailable, err.Error()+"\n")
	}
	return c.String(http.StatusOK, "ok\n")
}

// Refusal is every answer that is no success.
type Refusal struct {
	Error string `json:"error"`
	reason.Explanation
}

// refuse answers errors; Echo's own handler does not unwrap them.
func (s *Server) refuse(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	code, text := http.StatusInternalServerError, err.Error()
	if he, ok := errors.AsType[*echo.HTTPError](err); ok {
		code, text = he.Code, fmt.Sprint(he.Message)
	}
	switch {
	case errors.Is(err, journal.ErrNotFound):
		code = http.StatusNotFound
	case errors.Is(err, bridge.ErrReplaying), errors.Is(err, bridge.ErrAmbiguous), errors.Is(err, bridge.ErrStreamPresent):
		code = http.StatusConflict
	case errors.Is(err, journal.ErrClosed), errors.Is(err, journal.ErrFailed), errors.Is(err, bridge.ErrNotRunning):
		code, text = http.StatusServiceUnavailable, "the bridge is stopping"
	}
	if err := c.JSON(code, Refusal{text, reason.Explain(text)}); err != nil {
		s.o.Log.Debug("admin answer", zap.Error(err))
	}
}

const (
	// bodyTimeout is how long a body may take to come; the server's own ReadTimeout would
	// also end a read of a large journal.
	bodyTimeout = 10 * time.Second
	// maxBody is more than any request here has.
	maxBody = 64 << 10
)

// readBody reads a body whole, within bodyTimeout and whoever sends it, before anything
// else looks at the request: without that a client that stops in the middle of one would
// keep its connection for ever.
func readBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.Body == nil || r.Body == http.NoBody {
			return next(c)
		}
		control := http.NewResponseController(c.Response())
		if err := control.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, maxBody))
		if err != nil {
			c.Response().Header().Set("Connection", "close")
			if _, large := errors.AsType[*http.MaxBytesError](err); large {
				return echo.NewHTTPError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBody))
			}
			return echo.NewHTTPError(http.StatusRequestTimeout, fmt.Sprintf("the body did not come within %v", bodyTimeout))
		}
		if err := control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		return next(c)
	}
}

// authenticate asks for the token, when there is one.
func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	want := sha256.Sum256([]byte(s.o.Token))
	return func(c echo.Context) error {
		if s.o.Token == "" {
			return next(c)
		}
		scheme, token, _ := strings.Cut(c.Request().Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(token))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			c.Response().Header().Set("WWW-Authenticate", `Bearer realm="persat-bridge"`)
			return echo.NewHTTPError(http.StatusUnauthorized, "the admin token is needed, as 'Authorization: Bearer TOKEN'")
		}
		return next(c)
	}
}

// rebindGuard is against DNS rebinding: where there is no token, it refuses a host name that is not this host's:
// a name that a page elsewhere has made to point here would make that page one of
// this origin.
func (s *Server) rebindGuard(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		host := c.Request().Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if _, err := netip.ParseAddr(strings.Trim(host, "[]")); s.o.Token == "" && err != nil && host != "localhost" {
			return echo.NewHTTPError(http.StatusForbidden, "without admin.token only localhost or an address is answered, not another name")
		}
		return next(c)
	}
}

// noStore keeps what is answered out of caches: it is events, and old in a second.
func noStore(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set("Cache-Control", "no-store")
		c.Response().Header().Set("X-Content-Type-Options", "nosniff")
		return next(c)
	}
}

// sameOrigin refuses what a page of another origin would change.
func sameOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	protection := http.NewCrossOriginProtection()
	return func(c echo.Context) error {
		if protection.Check(c.Request()) != nil {
			return echo.NewHTTPError(http.StatusForbidden, "changes from another origin are refused")
		}
		return next(c)
	}
}
