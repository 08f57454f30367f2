package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/bridge/webhook"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
)

func (p *program) captureCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "capture",
		Short: "Show the next requests of a real sender, and the configuration that fits them",
		Long: "Wait for a POST, or for --count of them, and show each as it came: headers, body, whether it is signed and verifies, and the\n" +
			"sources: lines that fit it. It answers 503, so that the sender comes back to the bridge with the event.\n" +
			"It listens where serve does: stop that first, or use --listen with another address.",
		Args: noArgs,
	}
	listen := c.Flags().String("listen", ":8080", "address to listen on")
	secret := c.Flags().String("secret", "", "signing secret to verify with, whsec_… (default: $PERSAT_WEBHOOK_SECRET)")
	count := c.Flags().Int("count", 1, "how many requests to show")
	save := c.Flags().String("save", "", "directory to keep each request in: NNN-TYPE.headers, secrets masked, and NNN-TYPE.body, the bytes that 'send --file' takes")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *count < 1 {
			return usageError{errors.New("--count: at least 1")}
		}
		if *save != "" {
			if err := os.MkdirAll(*save, 0o700); err != nil {
				return fmt.Errorf("--save: %w", err)
			}
		}
		var keys webhook.Keys
		secrets, err := config.SplitSecrets(cmp.Or(*secret, p.getenv("PERSAT_WEBHOOK_SECRET")))
		if err == nil {
			keys, err = webhook.ParseSecrets(secrets)
		}
		if err != nil {
			return usageError{fmt.Errorf("--secret, or PERSAT_WEBHOOK_SECRET: %w", err)}
		}
		return p.capture(c.Context(), *listen, &catch{keys: keys, count: *count, dir: *save})
	}
	return c
}

// captureLimit is more than any event has.
const captureLimit = 32 << 20

// catch is what is captured.
type catch struct {
	keys  webhook.Keys
	count int
	dir   string // empty: nothing is kept

	mu sync.Mutex
	n  int // requests shown so far
}

func (p *program) capture(ctx context.Context, listen string, wanted *catch) error {
	l, err := net.Listen("tcp", listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("--listen: %w: stop serve first, or use --listen with another address", err)
	}
	if _, wrong := errors.AsType[*net.AddrError](err); wrong {
		return usageError{fmt.Errorf("--listen: %w", err)}
	}
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	caught := make(chan error, 1)
	hs := &http.Server{ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method != http.MethodPost {
			fmt.Fprintf(p.stderr, "%s %s from %s: not a POST, waiting on\n", r.Method, shown(r.URL.Path, 80), r.RemoteAddr)
			w.Header().Set("Allow", http.MethodPost)
			w.WriteHeader(http.StatusMethodNotAllowed)
			fmt.Fprintln(w, `{"error":"only a POST is captured"}`)
			return
		}
		// A 2xx would be a promise, and here nothing is kept.
		w.Header().Set("Retry-After", "5")
		if body, err := io.ReadAll(io.LimitReader(r.Body, captureLimit)); err == nil {
			if done, err := p.caught(wanted, r, body); done || err != nil {
				select {
				case caught <- err:
				default:
				}
			}
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, `{"error":"captured for a look, not kept: send it again"}`)
	})}
	served := make(chan error, 1)
	go func() { served <- hs.Serve(l) }()
	what := "one POST"
	if wanted.count > 1 {
		what = fmt.Sprintf("%d POSTs", wanted.count)
	}
	fmt.Fprintf(p.stderr, "waiting for %s on %s, any path; Ctrl-C ends\n", what, l.Addr())
	select {
	case err = <-caught:
	case err = <-served:
		return err
	case <-ctx.Done():
		err = errors.New("nothing came")
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return errors.Join(err, hs.Shutdown(bound))
}

// caught shows a request and keeps it, and says whether it was the last one wanted.
func (p *program) caught(wanted *catch, r *http.Request, body []byte) (done bool, err error) {
	wanted.mu.Lock()
	defer wanted.mu.Unlock()
	if wanted.n == wanted.count {
		return false, nil
	}
	wanted.n++
	if wanted.count > 1 {
		fmt.Fprintf(p.stdout, "%s\n", newStyle(p.stdout, p.getenv).paint(bold, fmt.Sprintf("%d of %d", wanted.n, wanted.count)))
	}
	err = p.showRequest(r, body, wanted.keys)
	if err == nil && wanted.dir != "" {
		err = p.keepRequest(wanted, r, body)
	}
	if wanted.n < wanted.count {
		fmt.Fprintln(p.stdout)
	}
	return wanted.n == wanted.count, err
}

// keepRequest writes a request into two files: bodies hold people's data, so only the
// owner may read them.
func (p *program) keepRequest(wanted *catch, r *http.Request, body []byte) error {
	name := "request"
	if e, err := persat.ReadEnvelope(body); err == nil {
		name = e.Type // fit for a file's name: CheckType has passed it
	}
	base := filepath.Join(wanted.dir, fmt.Sprintf("%03d-%s", wanted.n, name))
	for _, file := range []struct {
		name string
		text []byte
	}{{base + ".headers", headersText(r)}, {base + ".body", body}} {
		f, err := os.OpenFile(file.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("--save: %w: name an empty directory", err)
		}
		if _, err := f.Write(file.text); err != nil {
			return errors.Join(fmt.Errorf("--save: %w", err), f.Close())
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("--save: %w", err)
		}
	}
	_, err := fmt.Fprintf(p.stdout, "\nkept in %s.headers and %s.body\n", base, base)
	return err
}

// headersText is the request without its body, secrets masked.
func headersText(r *http.Request) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "Host: %s\n", visibly(r.Host))
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			fmt.Fprintf(&out, "%s: %s\n", name, visibly(mask(name, value)))
		}
	}
	return out.Bytes()
}

// showRequest prints what came and what it means.
func (p *program) showRequest(r *http.Request, body []byte, keys webhook.Keys) error {
	paint := newStyle(p.stdout, p.getenv)
	var out bytes.Buffer
	source, served := sourceOf(r.URL.Path)
	fmt.Fprintf(&out, "%s %s %s from %s\n", paint.paint(bold, r.Method), shown(masked(r.URL), 200), r.Proto, r.RemoteAddr)
	out.Write(headersText(r))
	fmt.Fprintf(&out, "\n%s\n", indented(body))
	fmt.Fprintf(&out, "\n%s\n", paint.paint(bold, "What it is"))
	if e, err := persat.ReadEnvelope(body); err != nil {
		fmt.Fprintf(&out, "  %d bytes, not usable as an event: %v (would be kept as a dead letter)\n", len(body), err)
	} else {
		fmt.Fprintf(&out, "  %d bytes, event type %s, subject %s.%s, entities %s\n", len(body), e.Type, source, e.Type, shown(cmp.Or(strings.Join(e.Entities, ", "), "none"), 200))
	}
	if !served {
		fmt.Fprintf(&out, "  sent to a path that serve answers 404: set the endpoint's URL in the portal to end in /webhooks/%s\n", source)
	}
	about, lines := fit(r, source, body, keys)
	fmt.Fprintf(&out, "  %s\n\n%s\n%s", about, paint.paint(bold, "Configuration that fits it"), lines)
	_, err := p.stdout.Write(out.Bytes())
	return err
}

// sourceOf is the source that a path is for. Any other path is as good as that of the
// default one, but not served.
func sourceOf(path string) (name string, served bool) {
	name, found := strings.CutPrefix(path, "/webhooks/")
	if !found || !sourceNames.MatchString(name) {
		return "persat", false
	}
	return name, true
}

// sourceNames are those that the configuration takes.
var sourceNames = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// fit says how the request proves who sent it, and what to configure for that.
func fit(r *http.Request, source string, body []byte, keys webhook.Keys) (about, lines string) {
	head := "sources:\n  " + source + ":\n"
	v := keys.Verify(r.Header, body, time.Now(), 5*time.Minute)
	switch {
	case v.OK():
		return fmt.Sprintf("signed with %s-* headers, and the signature verifies", v.Headers),
			head + "    auth: svix\n    secrets: [\"${PERSAT_WEBHOOK_SECRET}\"]\n"
	case v.Reason == webhook.BadTimestamp:
		return fmt.Sprintf("signed with %s-* headers, the signature verifies, but %s: set this host's clock", v.Headers, v.Detail),
			head + "    auth: svix\n    secrets: [\"${PERSAT_WEBHOOK_SECRET}\"]\n"
	case v.Reason == webhook.WrongSignature && len(keys) == 0:
		return fmt.Sprintf("signed with %s-* headers; give --secret to see whether it verifies", v.Headers),
			head + "    auth: svix\n    secrets: [\"${PERSAT_WEBHOOK_SECRET}\"]   # the signing secret of this endpoint, from the portal\n"
	case v.Reason == webhook.WrongSignature:
		return fmt.Sprintf("signed with %s-* headers, but not with this secret (or something on the way changed the body)", v.Headers),
			head + "    auth: svix\n    secrets: [\"${PERSAT_WEBHOOK_SECRET}\"]   # another one: copy it from this endpoint's page in the portal\n"
	}
	const svix = "    auth: svix\n    secrets: [\"${PERSAT_WEBHOOK_SECRET}\"]\n"
	switch there, missing := signatureHeaders(r.Header); {
	case v.Reason == webhook.MalformedSignature:
		return fmt.Sprintf("signed with %s-* headers, but %s: something on the way, such as a proxy, has changed them, or the sender has", v.Headers, v.Detail),
			head + svix
	case len(there) > 0:
		return fmt.Sprintf("signed in part: it has %s, but not %s: something on the way, such as a proxy or a firewall, drops them", strings.Join(there, ", "), strings.Join(missing, ", ")),
			head + svix
	}
	other := ""
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if strings.HasSuffix(name, "Signature") {
			other = "; the header " + name + " is no Standard Webhooks signature (svix-* or webhook-*), which is the only one that can be verified"
		}
	}
	if user, _, ok := r.BasicAuth(); ok {
		return fmt.Sprintf("not signed; HTTP Basic as user %q%s", user, other),
			head + "    auth: basic\n    secrets: [\"" + user + ":${PERSAT_WEBHOOK_SECRET}\"]   # user:password\n"
	}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if secretive(name) {
			return "not signed; a header that may be a secret: " + name + other,
				head + "    auth: header\n    secrets: [\"" + name + ": ${PERSAT_WEBHOOK_SECRET}\"]   # Header-Name: value\n"
		}
	}
	return "not signed, and nothing in it is secret: set a password or a header for this endpoint in the portal" + other,
		head + "    auth: basic        # after https://user:password@… was set as the endpoint's URL\n    secrets: [\"user:${PERSAT_WEBHOOK_SECRET}\"]\n"
}

// signatureHeaders are those of the signature that a request has, and those of the same
// set that it has not.
func signatureHeaders(h http.Header) (there, missing []string) {
	for _, family := range []string{"svix", "webhook"} {
		there, missing = nil, nil
		for _, part := range []string{"id", "timestamp", "signature"} {
			name := family + "-" + part
			if len(h.Values(name)) > 0 {
				there = append(there, name)
			} else {
				missing = append(missing, name)
			}
		}
		if len(there) > 0 {
			break
		}
	}
	return there, missing
}

// secretive says whether a header's value is likely a secret.
func secretive(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"authorization", "token", "secret", "api-key", "apikey", "password", "cookie", "credential"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// masked is a path with its query, of which the values may be secret.
func masked(u *url.URL) string {
	query := u.Query()
	for name, values := range query {
		for i, value := range values {
			query[name][i] = fmt.Sprintf("<%d bytes>", len(value))
		}
	}
	if len(query) == 0 {
		return u.Path
	}
	text, err := url.QueryUnescape(query.Encode())
	if err != nil {
		return u.Path
	}
	return u.Path + "?" + text
}

// mask hides what would let a reader of the screen in.
func mask(name, value string) string {
	if !secretive(name) && !strings.HasSuffix(strings.ToLower(name), "-signature") {
		return value
	}
	kind, _, ok := strings.Cut(value, " ")
	if ok && (strings.EqualFold(kind, "basic") || strings.EqualFold(kind, "bearer")) {
		return kind + " <secret>"
	}
	return fmt.Sprintf("<secret, %d bytes>", len(value))
}

// indented is the body readable when it is JSON, as it came when it is another text,
// and quoted when it might steer the terminal. In JSON only what might is escaped.
func indented(body []byte) []byte {
	var out bytes.Buffer
	if json.Indent(&out, body, "", "  ") == nil {
		return []byte(visibly(out.String()))
	}
	if bytes.ContainsFunc(body, steers) {
		return fmt.Appendf(nil, "%q", body)
	}
	return body
}
