package config

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/persat-bridge/persat-bridge/publisher"
)

// NATS is where events go: an embedded server, or, when URL or Context is set, an
// outside one.
type NATS struct {
	// Embedded is a NATS server inside this process: nothing else to run, and one disk to
	// lose.
	Embedded Embedded `yaml:"embedded"`
	// URL is an outside server, or several of one cluster, comma-separated: nats://, tls://,
	// ws://, wss:// or host:port. When it is set, the embedded server is off.
	URL Servers `yaml:"url"`
	// Context is the name of a context of the nats command. Only NATS_CONTEXT
	// sets it; like URL it switches the embedded server off.
	Context string `yaml:"-"`
	// Domain is the JetStream domain that has the stream, when it is not that of the server
	// in URL (a leaf node, its hub). The embedded server gets it as its own.
	Domain string `yaml:"domain"`
	// APIPrefix is where the account imports JetStream's API of another account, such as
	// JS.acme.API. Domain is the same for $JS.<domain>.API: set one of them.
	APIPrefix string `yaml:"api_prefix"`
	// CredsFile is a user's .creds file: JWT and key.
	CredsFile string `yaml:"creds_file"`
	// User is for servers with user and password.
	User string `yaml:"user"`
	// Password goes with User.
	Password Secret `yaml:"password"`
	// PasswordFile is a file that holds the password, instead of Password.
	PasswordFile string `yaml:"password_file"`
	// Token is for servers with a token.
	Token Secret `yaml:"token"`
	// TokenFile is a file that holds the token, instead of Token.
	TokenFile string `yaml:"token_file"`
	// NKeyFile is a file that holds an nkey seed.
	NKeyFile string `yaml:"nkey_file"`
	// TLS is for servers with a private authority, or that ask for a certificate.
	TLS ClientTLS `yaml:"tls"`
	// Stream is the JetStream stream. The bridge creates it when it is missing, and adds
	// missing subjects to one that exists. Other differences are reported, never changed.
	Stream Stream `yaml:"stream"`
}

// Embedded is the NATS server inside this process.
type Embedded struct {
	// Enabled runs it. URL, NATS_URL or NATS_CONTEXT switches it off.
	Enabled bool `yaml:"enabled"`
	// Listen is host:port for other clients; empty for none. It asks nobody who they are:
	// off loopback, everyone can read and write events.
	Listen string `yaml:"listen"`
	// StoreDir is the server's own directory, relative to the working directory, neither in
	// nor around journal.dir. One server only: two on one directory lose messages.
	StoreDir string `yaml:"store_dir"`
	// MaxStore limits what the bridge publishes into it; further events wait in the journal.
	// 0: what the disk leaves but its last tenth, 2 GiB at most, so that the journal can
	// take events when the stream cannot.
	MaxStore Size `yaml:"max_store"`
}

// ClientTLS is what the bridge shows and trusts when it connects to NATS.
type ClientTLS struct {
	// CAFile is a PEM file of the authorities to trust instead of the system's.
	CAFile string `yaml:"ca_file"`
	// CertFile is the bridge's own certificate, PEM. With KeyFile or not at all.
	CertFile string `yaml:"cert_file"`
	// KeyFile is its private key, PEM, not encrypted.
	KeyFile string `yaml:"key_file"`
}

// Stream is the JetStream stream. A stream that exists is widened by missing
// subjects and otherwise left as it is: differences are reported, never changed.
type Stream struct {
	// Name of the stream: no spaces, dots, slashes or wildcards.
	Name string `yaml:"name"`
	// Manage creates the stream and adds subjects. With false, events wait until somebody
	// else has created it.
	Manage bool `yaml:"manage"`
	// Replicas is how many servers keep each event, 1 to 5. With 1 the stream is lost with
	// its one disk; 3 needs a cluster of three.
	Replicas int `yaml:"replicas"`
	// MaxAge is how long events stay in the stream. 0s: for ever.
	MaxAge time.Duration `yaml:"max_age"`
	// MaxBytes limits the stream; at the limit the oldest events are deleted. 0: no limit
	// but the server's.
	MaxBytes Size `yaml:"max_bytes"`
	// DuplicateWindow is how long JetStream recognises a message id, at least 100ms, not
	// over MaxAge. It costs the server 150 to 350 bytes of memory an event. An event is
	// stored twice when the bridge goes down before it has noted JetStream's
	// acknowledgement, and stays down longer than this.
	DuplicateWindow time.Duration `yaml:"duplicate_window"`
	// Compression of what the server has on disk: none, or s2, which takes a fraction of the
	// disk and some of the server's processor.
	Compression string `yaml:"compression"`
}

// contextReplaces are the keys that say how to connect, which a context says too.
var contextReplaces = []string{
	"nats.url", "nats.domain", "nats.api_prefix", "nats.creds_file", "nats.user", "nats.password", "nats.password_file",
	"nats.token", "nats.token_file", "nats.nkey_file", "nats.tls.ca_file", "nats.tls.cert_file", "nats.tls.key_file",
}

// outside says whether events go to another server than the embedded one.
func (n *NATS) outside() bool { return n.URL != "" || n.Context != "" }

func (l *loader) checkNATS() {
	n := &l.cfg.NATS
	if n.outside() {
		n.Embedded.Enabled = false
	} else if !n.Embedded.Enabled && !l.bad("nats.url") {
		l.mistake("nats.url", "empty, and nats.embedded.enabled is false, so events have nowhere to go: set one of them")
	}
	l.checkServers(n.URL.list())
	l.checkContext(n.Context)
	l.checkAPI(n)

	l.secretFile("nats.password", &n.Password, &n.PasswordFile)
	l.secretFile("nats.token", &n.Token, &n.TokenFile)
	if n.User != "" && n.Password == "" && l.origins["nats.user"].variable == natsVariables["nats.user"] && !l.bad("nats.password_file") {
		// As the nats command reads it.
		n.User, n.Token = "", Secret(n.User)
	}
	l.refuseVariables(n)
	if n.Password != "" && n.User == "" && n.Context == "" {
		l.mistake("nats.user", "empty, but there is a password")
	}
	l.readable("nats.creds_file", n.CredsFile)
	l.readable("nats.nkey_file", n.NKeyFile)
	l.authorities("nats.tls.ca_file", n.TLS.CAFile)
	l.keyPair("nats.tls", n.TLS.CertFile, n.TLS.KeyFile)
	if n.Embedded.Enabled {
		l.checkEmbedded(n)
	}
	l.checkStream(n.Stream)
}

func (l *loader) checkEmbedded(n *NATS) {
	if n.Embedded.Listen != "" && l.address("nats.embedded.listen", n.Embedded.Listen) && !loopback(n.Embedded.Listen) {
		l.warn("nats.embedded.listen", "%s is not a loopback address, and the embedded server has no authentication: whoever reaches it can read and write events", n.Embedded.Listen)
	}
	l.checkDirs(l.cfg.Journal.Dir, n.Embedded.StoreDir)
	if n.CredsFile != "" || n.User != "" || n.Token != "" || n.NKeyFile != "" || n.TLS != (ClientTLS{}) {
		l.warn("nats.url", "empty, so the embedded server is used: the credentials and TLS files under nats are not")
	}
}

// checkDirs keeps the two stores apart: each deletes what it does not know.
func (l *loader) checkDirs(journal, store string) {
	if store == "" {
		l.mistake("nats.embedded.store_dir", "empty: name a directory")
	}
	if journal == "" || store == "" {
		return
	}
	if Within(journal, store) || Within(store, journal) {
		key, dir, other, otherDir := "nats.embedded.store_dir", store, "journal.dir", journal
		if _, set := l.origins[key]; !set {
			key, dir, other, otherDir = other, otherDir, key, dir
		}
		l.mistake(key, "%s and %s %s are the same directory or one in the other: give each its own", quote(dir), other, quote(otherDir))
	}
}

// Within says whether path is dir or below it, also by a symbolic link; either may be
// relative to the working directory.
func Within(path, dir string) bool {
	path, errPath := resolve(path)
	dir, errDir := resolve(dir)
	if errPath != nil || errDir != nil {
		return false
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// resolve follows the symbolic links in what there is of path.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	missing := ""
	for at := path; ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(real, missing), nil
		}
		if at == filepath.Dir(at) {
			return path, nil
		}
		missing = filepath.Join(filepath.Base(at), missing)
	}
}

func (l *loader) checkStream(s Stream) {
	const key = "nats.stream."
	if s.Name == "" || len(s.Name) > 255 || strings.ContainsFunc(s.Name, func(r rune) bool {
		return strings.ContainsRune(`.*>/\`, r) || r <= ' ' || r >= 0x7f
	}) {
		l.mistake(key+"name", "%s is not a stream name: no spaces, dots, slashes or wildcards, at most 255 bytes", quote(s.Name))
	}
	if s.Replicas < 1 || s.Replicas > 5 {
		l.mistake(key+"replicas", "%d is not 1 to 5", s.Replicas)
	}
	if s.Replicas > 1 && l.cfg.NATS.Embedded.Enabled {
		l.mistake(key+"replicas", "%d, but the embedded server is one alone: use 1, or set nats.url to a cluster", s.Replicas)
	}
	if s.Compression != "none" && s.Compression != "s2" {
		l.mistake(key+"compression", "%s is no compression: choose none or s2", quote(s.Compression))
	}
	if s.MaxAge < 0 || s.MaxAge > 0 && s.MaxAge < 100*time.Millisecond {
		l.mistake(key+"max_age", "%v is neither 0s, for ever, nor at least 100ms", s.MaxAge)
	}
	switch {
	case s.DuplicateWindow < 100*time.Millisecond:
		l.mistake(key+"duplicate_window", "%v is less than 100ms: without a window, every repeat is stored", s.DuplicateWindow)
	case s.MaxAge > 0 && s.DuplicateWindow > s.MaxAge && !l.bad(key+"max_age"):
		l.mistake(key+"duplicate_window", "%v is more than nats.stream.max_age %v, which JetStream refuses", s.DuplicateWindow, s.MaxAge)
	}
}

func (l *loader) checkServers(servers []string) {
	websockets := 0
	for i, server := range servers {
		if text := checkServer(server); text != "" {
			l.mistake("nats.url", "server %d %s", i+1, text)
		}
		if strings.HasPrefix(server, "ws://") || strings.HasPrefix(server, "wss://") {
			websockets++
		}
	}
	if websockets > 0 && websockets < len(servers) {
		l.mistake("nats.url", "mixes websocket servers with others, which the client cannot")
	}
}

// checkAPI checks where JetStream takes requests.
func (l *loader) checkAPI(n *NATS) {
	plain := func(s string, also string) bool {
		return !strings.ContainsFunc(s, func(r rune) bool {
			return strings.ContainsRune(`*>`+also, r) || r <= ' ' || r >= 0x7f
		})
	}
	if !plain(n.Domain, ".") {
		l.mistake("nats.domain", "%s is not a domain: no spaces, dots or wildcards", quote(n.Domain))
	}
	prefix := strings.TrimSuffix(n.APIPrefix, ".")
	if n.APIPrefix != "" && (!plain(prefix, "") || slices.Contains(strings.Split(prefix, "."), "")) {
		l.mistake("nats.api_prefix", "%s is not the beginning of a subject: write it like JS.acme.API", quote(n.APIPrefix))
	}
	switch {
	case n.APIPrefix == "":
	case n.Domain != "":
		l.mistake("nats.api_prefix", "set, and nats.domain too: only one of them can hold")
	case n.Embedded.Enabled:
		l.mistake("nats.api_prefix", "set, but the embedded server is used, which has its API in its one account: set nats.url, or leave it empty")
	}
}

// checkContext makes sure that a context can be read, as the publisher reads it.
func (l *loader) checkContext(name string) {
	if name == "" {
		return
	}
	if _, err := publisher.LoadContext(name); err != nil {
		l.mistakes = append(l.mistakes, Mistake{Variable: natsContext, Text: err.Error()})
	}
}

// checkServer says what is wrong with one server's address, without repeating
// it: it may hold a password.
func checkServer(server string) string {
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Hostname() == "" {
		return "is not an address: write it like nats://nats.example.com:4222"
	}
	switch u.Scheme {
	case "nats", "tls", "ws", "wss":
	default:
		return "has the scheme " + quote(u.Scheme) + ": use nats, tls, ws or wss"
	}
	if p := u.Port(); p != "" && !isPort(p) {
		return "has no port of 1 to 65535"
	}
	return ""
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func loopback(address string) bool {
	host := address[:strings.LastIndexByte(address, ':')]
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}
