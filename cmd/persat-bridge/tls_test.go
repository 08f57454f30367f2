package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// keyPair is a self-signed certificate for 127.0.0.1, in two files.
type keyPair struct {
	t         *testing.T
	cert, key string
}

func newKeyPair(t *testing.T, serial int64) *keyPair {
	t.Helper()
	dir := t.TempDir()
	p := &keyPair{t: t, cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	cert, key := p.make(serial)
	p.write(p.cert, cert)
	p.write(p.key, key)
	return p
}

// make makes another pair; the serial number tells one from the other.
func (p *keyPair) make(serial int64) (cert, key []byte) {
	p.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: "hooks.example.com"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		p.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		p.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func (p *keyPair) write(file string, text []byte) {
	p.t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// served is the serial number of what address serves; 0 when it serves nothing.
func served(address string) int64 {
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		return 0
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func newTLSBridge(t *testing.T, p *keyPair, env ...string) (b *bridgeProcess, address string) {
	t.Helper()
	b = newBridgeProcess(t, append(env, "PERSAT_BRIDGE_SERVER_TLS_CERT_FILE="+p.cert, "PERSAT_BRIDGE_SERVER_TLS_KEY_FILE="+p.key)...)
	b.url = strings.Replace(b.url, "http:", "https:", 1)
	u, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	return b, u.Host
}

func TestTLSVersions(t *testing.T) {
	b, address := newTLSBridge(t, newKeyPair(t, 1))
	b.Start()
	for _, test := range []struct {
		name    string
		version uint16
		want    bool
	}{
		{"1.0", tls.VersionTLS10, false},
		{"1.1", tls.VersionTLS11, false},
		{"1.2", tls.VersionTLS12, true},
		{"1.3", tls.VersionTLS13, true},
	} {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MinVersion: test.version, MaxVersion: test.version})
		if got := err == nil; got != test.want {
			t.Errorf("TLS %s: connected %v (%v), want %v", test.name, got, err, test.want)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func TestTLSHTTP2(t *testing.T) {
	b, _ := newTLSBridge(t, newKeyPair(t, 1))
	b.Start()
	for _, test := range []struct {
		name  string
		http2 bool
		want  string
	}{
		{"a sender that can", true, "HTTP/2.0"},
		{"a sender that cannot", false, "HTTP/1.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: test.http2}, Timeout: 10 * time.Second}
			defer client.CloseIdleConnections()
			r := signed(t, testSecret, newDeliveryID(), time.Now(), `{"eventType":"client.created","payload":{"_id":"C-1"}}`)
			request, err := http.NewRequest(http.MethodPost, b.url, strings.NewReader(string(r.body)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("webhook-id", r.id)
			request.Header.Set("webhook-timestamp", r.timestamp)
			request.Header.Set("webhook-signature", r.signature)
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != http.StatusAccepted || response.Proto != test.want {
				t.Errorf("got %d over %s %s, want 202 over %s", response.StatusCode, response.Proto, text, test.want)
			}
		})
	}
}

func TestTLSRenewedCertificate(t *testing.T) {
	t.Parallel()
	p := newKeyPair(t, 1)
	b, address := newTLSBridge(t, p)
	b.Start()
	if got := served(address); got != 1 {
		t.Fatalf("serves certificate %d, want 1", got)
	}

	// The tool that renews writes one file, and later the other.
	cert, key := p.make(2)
	p.write(p.cert, cert)
	time.Sleep(1100 * time.Millisecond)
	for range 3 {
		if got := served(address); got != 1 {
			t.Errorf("with a certificate and another's key: serves %d, want 1 as before", got)
		}
	}
	p.write(p.key, key)
	testwait.Eventually(t, "the renewed certificate is served", func() bool { return served(address) == 2 })
	if got := strings.Count(b.Output.String(), "cannot be loaded"); got != 1 {
		t.Errorf("said %d times that the pair does not fit, want once", got)
	}

	// Links are swapped, as in a mounted Kubernetes secret, and the times go back.
	cert, key = p.make(3)
	for file, text := range map[string][]byte{p.cert: cert, p.key: key} {
		elsewhere := file + ".3"
		p.write(elsewhere, text)
		if err := os.Chtimes(elsewhere, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(elsewhere, file+".link"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".link", file); err != nil {
			t.Fatal(err)
		}
	}
	testwait.Eventually(t, "the certificate behind the new links is served", func() bool { return served(address) == 3 })

	// The files vanish: what is loaded serves on.
	if err := os.Remove(p.cert); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	if got := served(address); got != 3 {
		t.Errorf("without its file: serves %d, want 3 as before", got)
	}
	if got := b.Stop(); got != exitDone {
		t.Errorf("exit code %d, want 0", got)
	}
}

// A copy that keeps the times changes nothing that can be seen from outside of
// the files: SIGHUP is for that.
func TestSIGHUPReadsTheCertificate(t *testing.T) {
	t.Parallel()
	p := newKeyPair(t, 1)
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	keepTimes := func() {
		for _, file := range []string{p.cert, p.key} {
			if err := os.Chtimes(file, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	keepTimes()
	b, address := newTLSBridge(t, p)
	b.Start()
	cert, key := p.make(2)
	p.write(p.cert, cert)
	p.write(p.key, key)
	keepTimes()
	b.Signal(syscall.SIGHUP)
	testwait.Eventually(t, "the other certificate is served", func() bool { return served(address) == 2 })
}

// The secrets of a running bridge change while it is posted to: what is signed
// with the old one is taken until the hangup, with the new one after it, and
// with both where both are there.
func TestSIGHUPReadsTheSecrets(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secrets")
	old, fresh := testSecret, newSecret()
	write := func(lines ...string) {
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(old)
	b := newBridgeProcess(t, "PERSAT_BRIDGE_SOURCES_PERSAT_SECRETS_FILE="+file)
	b.Args = []string{"serve"} // the reference configuration wants the variable too
	b.Env = append(b.Env, "PERSAT_WEBHOOK_SECRET=")
	b.Start()
	code := func(secret string) int {
		s := newSender(b.url, secret, 1)
		defer s.close()
		a, err := s.post(context.Background(), newDeliveryID(), []byte(`{"eventType":"client.created","payload":{"_id":"C-1"}}`))
		if err != nil {
			t.Fatal(err)
		}
		return a.code
	}
	hangups := 0
	for _, step := range []struct {
		name       string
		lines      []string
		old, fresh int
		said       string
	}{
		{"at first", nil, 202, 401, ""},
		{"both", []string{"# since today", fresh, old}, 202, 202, "secrets read again"},
		{"the new one alone", []string{fresh}, 401, 202, "secrets read again"},
		{"a mistake changes nothing", []string{"whsec_%"}, 401, 202, "the old secrets stay"},
	} {
		if step.lines != nil {
			write(step.lines...)
			hangups++
			b.Signal(syscall.SIGHUP)
			testwait.Eventually(t, step.name, func() bool { return strings.Count(b.Output.String(), "SIGHUP") == hangups })
			if !strings.Contains(b.Output.String(), step.said) {
				t.Errorf("%s: the log does not say %q", step.name, step.said)
			}
		}
		if got := code(old); got != step.old {
			t.Errorf("%s: the old secret gets %d, want %d", step.name, got, step.old)
		}
		if got := code(fresh); got != step.fresh {
			t.Errorf("%s: the new secret gets %d, want %d", step.name, got, step.fresh)
		}
	}
	if strings.Contains(b.Output.String(), fresh) || strings.Contains(b.Output.String(), old) {
		t.Error("the log shows a secret")
	}
}
