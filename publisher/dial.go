package publisher

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/net/proxy"
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
	// SOCKSProxy is the URL of a proxy on the way to the servers.
	SOCKSProxy string
	// Domain is the JetStream domain that has the stream, and APIPrefix the prefix of the
	// API's subjects as the account imports them. At most one of them is set; without
	// either it is the JetStream of the account where the connection is.
	Domain    string
	APIPrefix string
	// Name is shown by the server for this connection.
	Name string
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
)

// Dial opens one connection that ends when it breaks.
func Dial(ctx context.Context, o ConnectOptions, more ...nats.Option) (*nats.Conn, error) {
	nc, _, err := dial(ctx, o, more...)
	return nc, err
}

// dial is Dial, with where JetStream takes requests.
func dial(ctx context.Context, o ConnectOptions, more ...nats.Option) (*nats.Conn, api, error) {
	options := append([]nats.Option{
		nats.Name(o.Name),
		nats.NoReconnect(),
		nats.Timeout(connectTimeout),
		nats.CustomInboxPrefix(inbox),
		// A cable that was pulled is noticed after two missed pings.
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(writeTimeout),
		nats.SkipHostLookup(), // the dialer does it, and not longer than its timeout
	}, more...)
	if o.Embedded != nil {
		nc, err := nats.Connect("", append(options, nats.InProcessServer(o.Embedded))...)
		if err != nil {
			return nil, api{}, fmt.Errorf("connect to NATS at %s: %w", o.where(), err)
		}
		return nc, api{domain: o.Domain}, nil
	}
	o, auth, err := o.withContext()
	if err == nil {
		auth, err = o.auth(auth)
	}
	if err != nil {
		return nil, api{}, fmt.Errorf("connect to NATS: %w", err)
	}
	// One server after the other, in any order: of several, nats.go would say why the
	// last one was not, or only that none was.
	servers := strings.Split(o.URL, ",")
	reasons := make([]error, len(servers))
	for _, i := range rand.Perm(len(servers)) {
		d := &dialer{ctx: ctx, proxy: o.SOCKSProxy}
		all := slices.Concat(options, auth, []nats.Option{nats.SetCustomDialer(d)})
		nc, err := nats.Connect(strings.TrimSpace(servers[i]), all...)
		if d.err == nil && hungUp(err) && o.wantsTLS(servers[i]) {
			// A server with handshake_first waits for us, as we for it, and then hangs up.
			nc, err = nats.Connect(strings.TrimSpace(servers[i]), append(all, nats.TLSHandshakeFirst())...)
		}
		if err == nil {
			return nc, api{domain: o.Domain, prefix: o.APIPrefix}, nil
		}
		reasons[i] = reason(cmp.Or(d.err, err)) // nats.go keeps some of the first to itself
		if len(servers) > 1 {
			reasons[i] = fmt.Errorf("%s: %w", hostPort(servers[i]), reasons[i])
		}
	}
	return nil, api{}, fmt.Errorf("connect to NATS at %s: %w", o.where(), joined(reasons))
}

// hungUp says whether a server ended the connection before it had said who it is.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// wantsTLS says whether the connection to a server has to be encrypted.
func (o *ConnectOptions) wantsTLS(server string) bool {
	return o.CAFile != "" || o.CertFile != "" || strings.HasPrefix(strings.TrimSpace(server), "tls://")
}

// joined are several errors in one line.
type joined []error

func (j joined) Error() string {
	var texts []string
	for _, err := range j {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

func (j joined) Unwrap() []error { return j }

// hostPort is where the server of a URL listens.
func hostPort(server string) string {
	server = strings.TrimSpace(server)
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return "an address that cannot be read"
	}
	port := map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port, "4222"))
}

// reason is the part of a failed connect that matters. The same failure has the same
// words each time: the log tells what is new.
func reason(err error) error {
	if errors.Is(err, nats.ErrTLS) {
		// The handshake is over on this side before the server has looked at our
		// certificate; what is seen of its refusal may be no more than that it hung up.
		return fmt.Errorf("%w (does it ask for another certificate of ours? see nats.tls.cert_file)", err)
	}
	if hungUp(err) {
		return errors.New("the server hangs up before it says who it is: is it a NATS server? When it begins with TLS (handshake_first), write tls:// in nats.url")
	}
	if unknown, ok := errors.AsType[*net.DNSError](err); ok {
		// Without the addresses of the question, which has another port each time.
		return errors.New(unknown.Err[strings.LastIndex(": "+unknown.Err, ": "):])
	}
	network, ok := errors.AsType[*net.OpError](err)
	if !ok || network.Op != "dial" {
		return err
	}
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number
	}
	if network.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", connectTimeout)
	}
	return network.Err
}

// auth adds the credentials that are set to those of the context, and wins over them.
func (o *ConnectOptions) auth(options []nats.Option) ([]nats.Option, error) {
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

// Redact takes the user information, which may be a token, out of a comma-separated list
// of URLs.
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

// turns count the connects to a name, from anywhere on: of its addresses each begins
// with the next one. The first may be that of a server that takes connections and does
// not answer, and the next attempt must not begin with the same.
var turns = turnsOf{of: make(map[string]int)}

type turnsOf struct {
	mu sync.Mutex
	of map[string]int
}

func (t *turnsOf) next(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.of[name]; !known {
		t.of[name] = rand.IntN(1 << 16)
	}
	t.of[name]++
	return t.of[name]
}

// dialer lets a connect end with its context.
type dialer struct {
	ctx   context.Context
	proxy string // URL of a SOCKS proxy; empty for none
	err   error  // of the last dial
}

func (d *dialer) Dial(network, address string) (c net.Conn, err error) {
	defer func() { d.err = err }()
	ctx, cancel := context.WithTimeout(d.ctx, connectTimeout)
	defer cancel()
	if d.proxy != "" {
		return dialProxy(ctx, d.proxy, network, address)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addresses := []string{host}
	if net.ParseIP(host) == nil {
		if addresses, err = net.DefaultResolver.LookupHost(ctx, host); err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Err: err}
		}
		slices.Sort(addresses)
		first := turns.next(host) % len(addresses)
		addresses = slices.Concat(addresses[first:], addresses[:first])
	}
	each := net.Dialer{Timeout: connectTimeout / time.Duration(len(addresses))}
	for _, a := range addresses {
		if c, err = each.DialContext(ctx, network, net.JoinHostPort(a, port)); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// dialProxy goes through a SOCKS proxy, which finds the address of a name itself.
func dialProxy(ctx context.Context, through, network, address string) (net.Conn, error) {
	u, err := url.Parse(through)
	if err != nil {
		return nil, errors.New("the SOCKS proxy's address cannot be read: write it like socks5://proxy.example.com:1080")
	}
	d, err := proxy.FromURL(u, &net.Dialer{Timeout: connectTimeout})
	if err != nil {
		return nil, fmt.Errorf("SOCKS proxy %s: %w", u.Redacted(), err)
	}
	c, err := d.(proxy.ContextDialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("SOCKS proxy %s: %w", u.Redacted(), err)
	}
	return c, nil
}
