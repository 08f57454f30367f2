package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Acceptor makes a delivery durable.
type Acceptor interface {
	// Accept returns a nil error only once d is on disk, fsynced, or was so
	// before; the outcome says which. It is called by many requests at once,
	// and does not keep d.Body after it has returned without an error. After one
	// nothing is promised, d.Body may still be read, and the sender comes back:
	// Accept need not try twice.
	Accept(ctx context.Context, d bridge.Delivery) (bridge.Outcome, error)
}

// Options configure a Server.
type Options struct {
	// Sources is who may send. At least one.
	Sources []Source
	// MaxBodyBytes bounds one body. 0 means 4 MiB.
	MaxBodyBytes int64
	// MaxInFlight bounds the authentic requests of all sources that are in Accept.
	// 0 means 1024.
	MaxInFlight int
	// MaxConnections bounds the connections that are open at once. 0 means 4096.
	MaxConnections int
	// TrustedProxies are the peers whose X-Forwarded-For is believed, hop by
	// hop. Nobody is trusted for being on a private or loopback address.
	TrustedProxies []netip.Prefix
	// AnswerTimeout bounds Accept. 0 means 10 s: the sender gives up at 15 s.
	AnswerTimeout time.Duration
	// ShutdownTimeout bounds the end of Serve. 0 means 20 s.
	ShutdownTimeout time.Duration
	// Ready says why no event can be taken now, or nil. A load balancer asks for it on
	// this listener. nil is always ready.
	Ready func() error
	// Notice takes what an operator should know now, by subject; an empty text is the
	// end of it. nil tells nobody.
	Notice func(about, text string)
	// Log is where transitions go. nil is silent.
	Log *zap.Logger
	// Registerer takes the metrics. nil keeps them unseen.
	Registerer prometheus.Registerer
	// Tracer makes a span of each authentic request. nil makes none.
	Tracer trace.Tracer
}

func (o Options) withDefaults() Options {
	if o.MaxBodyBytes == 0 {
		o.MaxBodyBytes = 4 << 20
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = 1024
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = 4096
	}
	if o.AnswerTimeout == 0 {
		o.AnswerTimeout = 10 * time.Second
	}
	if o.ShutdownTimeout == 0 {
		o.ShutdownTimeout = 20 * time.Second
	}
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	if o.Notice == nil {
		o.Notice = func(string, string) {}
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	return o
}

func (o Options) validate() error {
	var errs []error
	if len(o.Sources) == 0 {
		errs = append(errs, errors.New("no source: nobody could send"))
	}
	seen := make(map[string]bool)
	for _, s := range o.Sources {
		if err := s.validate(); err != nil {
			errs = append(errs, fmt.Errorf("source %s: %w", s.Name, err))
		}
		if seen[s.Name] {
			errs = append(errs, fmt.Errorf("source %s: is there twice", s.Name))
		}
		seen[s.Name] = true
	}
	for name, n := range map[string]int64{
		"max body bytes":   o.MaxBodyBytes,
		"max in flight":    int64(o.MaxInFlight),
		"max connections":  int64(o.MaxConnections),
		"answer timeout":   int64(o.AnswerTimeout),
		"shutdown timeout": int64(o.ShutdownTimeout),
	} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", name))
		}
	}
	return errors.Join(append(errs, validatePrefixes(o.TrustedProxies)...)...)
}

// Server answers the requests of its sources.
type Server struct {
	acceptor Acceptor
	sources  map[string]*source
	other    *counters  // of requests to no source
	unknown  *diagnosis // of the same
	refusals refusalList
	bodies   *bodies
	readings *readings
	ready    func() error
	slots    chan struct{} // one in it for each request in Accept
	echo     *echo.Echo
	log      *zap.Logger
	tracer   trace.Tracer // nil: no traces

	answerTimeout   time.Duration
	deadlines       deadlines // answerTimeout from now
	shutdownTimeout time.Duration
	timeouts        timeouts
	maxConnections  int
	overloads       overloads

	draining  atomic.Bool
	accepting atomic.Int64 // requests that are in Accept
	// barrier, while it is there, is closed when requests may go on. See Serve.
	barrier atomic.Pointer[chan struct{}]
}

// New returns a server that is not listening yet. Its errors name every mistake
// in o at once, and no secret.
func New(o Options, a Acceptor) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		acceptor:        a,
		sources:         make(map[string]*source, len(o.Sources)),
		other:           m.source(otherSource),
		unknown:         newDiagnosis(otherSource, o.Log),
		bodies:          newBodies(o.MaxBodyBytes),
		readings:        newReadings(maxReading),
		ready:           o.Ready,
		slots:           make(chan struct{}, o.MaxInFlight),
		log:             o.Log,
		tracer:          o.Tracer,
		answerTimeout:   o.AnswerTimeout,
		deadlines:       deadlines{after: o.AnswerTimeout},
		shutdownTimeout: o.ShutdownTimeout,
		timeouts:        defaultTimeouts,
		maxConnections:  o.MaxConnections,
		overloads:       newOverloads(o),
	}
	var errs []error
	for _, source := range o.Sources {
		g, err := newSource(source, m, o.Log)
		if err != nil {
			errs = append(errs, fmt.Errorf("source %s: %w", source.Name, err))
		}
		s.sources[source.Name] = g
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.echo = s.routes(o.TrustedProxies)
	return s, nil
}

func (s *Server) routes(proxies []netip.Prefix) *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = s.refuse
	e.IPExtractor = clientAddress(proxies)
	e.Pre(s.observe)
	// In Echo the handlers of RouteNotFound take every other method on the path,
	// OPTIONS too, which Echo would answer 204 by itself.
	for _, path := range []string{"/webhooks/:source", "/webhooks/:source/"} {
		e.POST(path, s.receive)
		e.RouteNotFound(path, s.refuseMethod)
	}
	for _, path := range []string{"/readyz", "/healthz"} {
		e.RouteNotFound(path, s.readiness)
	}
	return e
}

// clientAddress returns Echo's reading of who sent a request, with its habit of
// trusting private networks switched off.
func clientAddress(proxies []netip.Prefix) echo.IPExtractor {
	if len(proxies) == 0 {
		return echo.ExtractIPDirect()
	}
	trust := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range proxies {
		p = p.Masked()
		trust = append(trust, echo.TrustIPRange(&net.IPNet{
			IP:   p.Addr().AsSlice(),
			Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		}))
	}
	return echo.ExtractIPFromXFFHeader(trust...)
}

// Handler returns what Serve serves, for a listener of one's own.
func (s *Server) Handler() http.Handler { return s.echo }

// SetSecrets replaces the secrets of the named sources; the others keep theirs.
// Each request is judged by the old or by the new ones. After an error nothing
// has changed.
func (s *Server) SetSecrets(secrets map[string][]string) error {
	fresh := make(map[*source]authenticator, len(secrets))
	var errs []error
	for name, list := range secrets {
		g, ok := s.sources[name]
		if !ok {
			errs = append(errs, fmt.Errorf("source %s: is not configured", name))
			continue
		}
		a, err := newAuthenticator(g.kind, list, g.tolerance)
		if err != nil {
			errs = append(errs, fmt.Errorf("source %s: %w", name, err))
		}
		fresh[g] = a
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for g, a := range fresh {
		g.auth.Store(&a)
	}
	return nil
}

// Drain makes every new request hear 503 from now on. Requests under way
// finish. There is no way back: it is called when this process is going to end.
func (s *Server) Drain() { s.draining.Store(true) }
