package publisher

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/jsm.go/natscontext"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// ConnectOptions says where NATS is and who we are there. Zero values leave
// a thing out.
type ConnectOptions struct {
	// Embedded connects to a server in this process; then the rest is not
	// looked at.
	Embedded *Embedded
	// URL is one server or several, comma-separated.
	URL string
	// Context is the name of a context of the nats CLI. What is set beside it
	// wins over it.
	Context   string
	CredsFile string
	NkeyFile  string
	User      string
	Password  string
	Token     string
	CAFile    string
	CertFile  string
	KeyFile   string
	// Name is shown by the server for this connection.
	Name string
}

// StreamOptions describes the stream that takes the events.
type StreamOptions struct {
	Name string
	// Manage makes a missing stream and adds missing subjects to one that is
	// there. Nothing else is ever changed.
	Manage          bool
	Replicas        int
	MaxAge          time.Duration
	MaxBytes        int64
	DuplicateWindow time.Duration
}

// Options is what a JetStream needs.
type Options struct {
	Connect ConnectOptions
	Stream  StreamOptions
	// Prefixes is the subject prefix of each source.
	Prefixes map[string]string
	// AckTimeout is how long an attempt waits for JetStream. Default 5 s.
	AckTimeout time.Duration
	Log        *zap.Logger
}

func (o *Options) validate() error {
	if o.Connect.Embedded == nil && o.Connect.URL == "" && o.Connect.Context == "" {
		return errors.New("publisher: no server: nats.url is empty and nats.embedded is off")
	}
	if o.Stream.Name == "" {
		return errors.New("publisher: no stream name")
	}
	if o.Connect.Name == "" {
		o.Connect.Name = "persat-bridge"
	}
	if o.AckTimeout <= 0 {
		o.AckTimeout = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return nil
}

// JetStream opens sessions with a JetStream. It is safe for concurrent use.
type JetStream struct {
	o Options

	mu       sync.Mutex
	reported string // the differences of the stream that the log has shown
}

var (
	_ bridge.Publisher = (*JetStream)(nil)
	_ bridge.Session   = (*session)(nil)
)

// New checks the options. It connects to nothing.
func New(o Options) (*JetStream, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &JetStream{o: o}, nil
}

// inbox is where answers come in. A prefix of its own lets a NATS user be kept
// from reading the answers to others. A context of the nats CLI may set another.
const inbox = "_INBOX.persat-bridge"

const (
	// connectTimeout bounds the handshake with one server.
	connectTimeout = 5 * time.Second
	// writeTimeout bounds a write to a server that takes nothing more. nats.go holds
	// its lock meanwhile, so until then no ping is missed and no attempt begins.
	writeTimeout = 10 * time.Second
	// maxUnderWay is how many attempts nats.go lets wait before it makes the next one
	// wait, too; how many there are is the caller's to say.
	maxUnderWay = 1 << 20
)

// Connect implements bridge.Publisher. A stream that cannot be looked at or made
// is no reason to fail: events are then held, subject by subject, with the
// server's own words.
func (p *JetStream) Connect(ctx context.Context) (bridge.Session, error) {
	s, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	s.look(ctx)
	if ctx.Err() != nil {
		s.Close()
		return nil, context.Cause(ctx)
	}
	return s, nil
}

// dial opens a session that has not looked at the stream, nor changed it.
func (p *JetStream) dial(ctx context.Context) (*session, error) {
	s := &session{p: p, done: make(chan struct{}), denied: make(map[string]time.Time)}
	s.underWay.byMessage = make(map[*nats.Msg]*attempt)
	nc, err := Dial(ctx, p.o.Connect, nats.ErrorHandler(s.onError), nats.ClosedHandler(s.onClosed))
	if err != nil {
		return nil, err
	}
	s.nc = nc
	s.js, err = jetstream.New(nc,
		jetstream.WithPublishAsyncTimeout(p.o.AckTimeout),
		jetstream.WithPublishAsyncMaxPending(maxUnderWay),
		jetstream.WithPublishAsyncAckHandler(s.onAck),
		jetstream.WithPublishAsyncErrHandler(s.onFailure))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return s, nil
}

// Dial opens one connection that ends when it breaks.
func Dial(ctx context.Context, o ConnectOptions, more ...nats.Option) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name(o.Name),
		nats.NoReconnect(),
		nats.Timeout(connectTimeout),
		nats.CustomInboxPrefix(inbox),
		// A cable that was pulled is noticed after two missed pings.
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(writeTimeout),
		nats.SkipHostLookup(), // the dialer does it, and not longer than its timeout
	}
	dials := &dialer{ctx: ctx}
	if o.Embedded != nil {
		options = append(options, nats.InProcessServer(o.Embedded.server))
	} else {
		options = append(options, nats.SetCustomDialer(dials))
		auth, err := o.auth()
		if err != nil {
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
		options = append(options, auth...)
	}
	nc, err := nats.Connect(o.URL, append(options, more...)...)
	if errors.Is(err, nats.ErrTLS) {
		// The handshake is over on this side before the server has looked at our
		// certificate; what is seen of its refusal may be no more than that it hung up.
		err = fmt.Errorf("%w (does it ask for another certificate of ours? see nats.tls.cert_file)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", o.where(), dials.explain(o.URL, err))
	}
	return nc, nil
}

func (o *ConnectOptions) auth() ([]nats.Option, error) {
	var options []nats.Option
	if o.Context != "" {
		c, err := natscontext.New(o.Context, true)
		if err != nil {
			return nil, fmt.Errorf("context %q: %w", o.Context, err)
		}
		if options, err = c.NATSOptions(); err != nil {
			return nil, fmt.Errorf("context %q: %w", o.Context, err)
		}
		if o.URL == "" {
			o.URL = c.ServerURL()
		}
	}
	if o.CredsFile != "" {
		options = append(options, nats.UserCredentials(o.CredsFile))
	}
	if o.NkeyFile != "" {
		nkey, err := nats.NkeyOptionFromSeed(o.NkeyFile)
		if err != nil {
			return nil, fmt.Errorf("nkey: %w", err)
		}
		options = append(options, nkey)
	}
	if o.User != "" {
		options = append(options, nats.UserInfo(o.User, o.Password))
	}
	if o.Token != "" {
		options = append(options, nats.Token(o.Token))
	}
	if o.CAFile != "" {
		options = append(options, nats.RootCAs(o.CAFile))
	}
	if o.CertFile != "" {
		options = append(options, nats.ClientCert(o.CertFile, o.KeyFile))
	}
	if o.CAFile != "" || o.CertFile != "" {
		// After RootCAs and ClientCert, which make the configuration.
		options = append(options, func(n *nats.Options) error {
			n.TLSConfig.MinVersion = tls.VersionTLS12
			return nil
		})
	}
	return options, nil
}

// where names the servers without what must not be shown.
func (o *ConnectOptions) where() string {
	if o.Embedded != nil {
		return "the embedded server"
	}
	return Redact(o.URL)
}

// Redact takes the user information out of a comma-separated list of URLs.
func Redact(urls string) string {
	var shown []string
	for raw := range strings.SplitSeq(urls, ",") {
		raw = strings.TrimSpace(raw)
		u, err := url.Parse(raw)
		switch {
		case err == nil && u.User != nil:
			u.User = url.User("<secret>")
			if raw, err = url.PathUnescape(u.String()); err != nil {
				raw = u.Host
			}
		case strings.Contains(raw, "@"):
			raw = "<secret>" + raw[strings.LastIndex(raw, "@"):]
		}
		shown = append(shown, raw)
	}
	return strings.Join(shown, ",")
}

// dialer lets a connect end with its context, and remembers what became of it at each
// server.
type dialer struct {
	ctx     context.Context
	servers []dialed
}

// dialed is one server that was dialed.
type dialed struct {
	address string
	err     error
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(d.ctx, network, address)
	d.servers = append(d.servers, dialed{address, err})
	return c, err
}

// explain is err, or what happened at each server, in the order of urls, where nats.go
// only says that none was there, or why the last one was not.
func (d *dialer) explain(urls string, err error) error {
	network, ok := errors.AsType[*net.OpError](err)
	dialing := ok && network.Op == "dial" || errors.Is(err, nats.ErrNoServers)
	if !dialing || !slices.ContainsFunc(d.servers, func(s dialed) bool { return s.err != nil }) {
		return err
	}
	if len(d.servers) == 1 {
		return d.servers[0].reason()
	}
	place := func(s dialed) int { return strings.Index(urls, s.address) }
	slices.SortFunc(d.servers, func(a, b dialed) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), strings.Compare(a.address, b.address))
	})
	var reasons []string
	for _, s := range d.servers {
		reasons = append(reasons, fmt.Sprintf("%s: %v", s.address, s.reason()))
	}
	return errors.New(strings.Join(reasons, "; "))
}

// reason is the part of a failed dial that matters.
func (s dialed) reason() error {
	if s.err == nil {
		return errors.New("it takes connections")
	}
	if unknown, ok := errors.AsType[*net.DNSError](s.err); ok {
		return errors.New(unknown.Err)
	}
	if number, ok := errors.AsType[syscall.Errno](s.err); ok {
		return number
	}
	if timeout, ok := errors.AsType[net.Error](s.err); ok && timeout.Timeout() {
		return fmt.Errorf("no answer within %s", connectTimeout)
	}
	return s.err
}
