package publisher

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

func TestRedact(t *testing.T) {
	for url, want := range map[string]string{
		"nats://one:4222":                             "nats://one:4222",
		"nats://user:pa55@one:4222":                   "nats://<secret>@one:4222",
		"nats://pa55@one":                             "nats://<secret>@one",
		"nats://user:pa55@one, tls://user:pa55@two:4": "nats://<secret>@one,tls://<secret>@two:4",
		"nats://user:pa55%zz@one":                     "<secret>@one",
		"nats://user:pa55@pa55@one":                   "nats://<secret>@one",
		"user:pa55@one:4222":                          "<secret>@one:4222",
		"one:4222,two:4222":                           "one:4222,two:4222",
		"":                                            "",
	} {
		if got := Redact(url); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options{
		"nats.url":    {Stream: StreamOptions{Name: "PERSAT"}},
		"stream name": {Connect: ConnectOptions{URL: "nats://one"}},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error about %s", err, want)
		}
	}
}

// write puts text into a file of its own.
func write(t *testing.T, name string, text []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// keyPair is an nkey, its public half and its seed.
func keyPair(t *testing.T, create func() (nkeys.KeyPair, error)) (key nkeys.KeyPair, public string, seed []byte) {
	t.Helper()
	key, err := create()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = key.PublicKey(); err != nil {
		t.Fatal(err)
	}
	if seed, err = key.Seed(); err != nil {
		t.Fatal(err)
	}
	return key, public, seed
}

// clientOf is who the server takes the session's client for.
func clientOf(t *testing.T, n *natstest.Server) string {
	t.Helper()
	var connz *server.Connz
	testwait.Eventually(t, "one connection is left: those refused before may still be ending", func() bool {
		var err error
		if connz, err = n.Inside.Connz(&server.ConnzOptions{Username: true}); err != nil {
			t.Fatal(err)
		}
		return len(connz.Conns) == 1
	})
	c := connz.Conns[0]
	if c.Name != "persat-bridge" {
		t.Errorf("got connection name %q", c.Name)
	}
	return c.AuthorizedUser
}

// Each way to say who we are, on a server that asks; and the wrong word, which has
// to be said without the secret.
func TestAuth(t *testing.T) {
	t.Parallel()
	_, public, seed := keyPair(t, nkeys.CreateUser)
	_, _, stranger := keyPair(t, nkeys.CreateUser)
	seedFile, strangerFile := write(t, "user.nk", seed), write(t, "stranger.nk", stranger)
	for name, test := range map[string]struct {
		config       string
		right, wrong ConnectOptions
	}{
		"user and password": {
			`authorization: {user: bridge, password: pa55}`,
			ConnectOptions{User: "bridge", Password: "pa55"}, ConnectOptions{User: "bridge", Password: "wr0ng"},
		},
		"token": {
			`authorization: {token: pa55}`,
			ConnectOptions{Token: "pa55"}, ConnectOptions{Token: "wr0ng"},
		},
		"nkey": {
			fmt.Sprintf(`authorization: {users: [{nkey: %s}]}`, public),
			ConnectOptions{NkeyFile: seedFile}, ConnectOptions{NkeyFile: strangerFile},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := natstest.Start(t, test.config)
			o := optionsFor(n.URL)
			url := o.Connect.URL
			o.Connect = test.right
			o.Connect.URL = url
			mustPublish(t, connect(t, o), "msg_1")
			clientOf(t, n)
			o.Connect = test.wrong
			o.Connect.URL = url
			refused(t, o, "uthorization")
		})
	}
	n := natstest.Start(t, `authorization: {user: bridge, password: pa55}`)
	o := optionsFor(n.URL)
	o.Connect.URL = strings.Replace(n.URL, "nats://", "nats://bridge:wr0ng@", 1)
	refused(t, o, "<secret>@127.0.0.1")
	o.Connect.URL = strings.Replace(n.URL, "nats://", "nats://bridge:pa55@", 1)
	connect(t, o)
	o.Connect.NkeyFile = filepath.Join(t.TempDir(), "missing.nk")
	refused(t, o, "missing.nk")
}

func refused(t *testing.T, o Options, want string) {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Connect(t.Context())
	if err == nil {
		s.Close()
		t.Error("it connected")
		return
	}
	if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("got %v, want an error about %s without the secret", err, want)
	}
}

// operatorMode starts a server as NGS and Synadia's cloud are, without JetStream, and
// makes a .creds file for one user of it.
func operatorMode(t *testing.T, change func(*jwt.UserClaims)) (n *natstest.Server, credsFile, userID string) {
	t.Helper()
	operator, operatorID, _ := keyPair(t, nkeys.CreateOperator)
	account, accountID, _ := keyPair(t, nkeys.CreateAccount)
	_, userID, seed := keyPair(t, nkeys.CreateUser)
	accountClaims := jwt.NewAccountClaims(accountID)
	accountJWT, err := accountClaims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	userClaims := jwt.NewUserClaims(userID)
	userClaims.Name = "the bridge"
	change(userClaims)
	userJWT, err := userClaims.Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(userJWT, seed)
	if err != nil {
		t.Fatal(err)
	}
	n = natstest.Start(t, "", func(o *server.Options) {
		o.JetStream = false // it would need a system account
		o.TrustedOperators = []*jwt.OperatorClaims{jwt.NewOperatorClaims(operatorID)}
		resolver := &server.MemAccResolver{}
		if err := resolver.Store(accountID, accountJWT); err != nil {
			t.Fatal(err)
		}
		o.AccountResolver = resolver
	})
	return n, write(t, "bridge.creds", creds), userID
}

// A .creds file on a server in operator mode.
func TestAuthCreds(t *testing.T) {
	t.Parallel()
	n, creds, userID := operatorMode(t, func(*jwt.UserClaims) {})
	o := optionsFor(n.URL)
	refused(t, o, "uthorization")
	o.Connect.CredsFile = creds
	connect(t, o)
	if got := clientOf(t, n); got != userID {
		t.Errorf("the server takes it for %q", got)
	}
	o.Connect.CredsFile = filepath.Join(t.TempDir(), "missing.creds")
	refused(t, o, "missing.creds")
}

// authority signs certificates for 127.0.0.1.
type authority struct {
	*testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{T: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.key = key
	a.file = write(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func (a *authority) issue(name string) (certFile, keyFile string) {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		a.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.Fatal(err)
	}
	return write(a.T, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		write(a.T, name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	cert, key := ours.issue("server")
	tls := fmt.Sprintf("cert_file: %q, key_file: %q, ca_file: %q", cert, key, ours.file)
	t.Run("of the server", func(t *testing.T) {
		n := natstest.Start(t, "tls: {"+tls+"}")
		o := optionsFor(n.URL)
		refused(t, o, "certificate")
		o.Connect.CAFile = theirs.file
		refused(t, o, "certificate")
		o.Connect.CAFile = filepath.Join(t.TempDir(), "missing.pem")
		refused(t, o, "missing.pem")
		o.Connect.CAFile = ours.file
		mustPublish(t, connect(t, o), "msg_1")
		clientOf(t, n)
	})
	// Where the server waits for the client's TLS, all that was heard was "EOF".
	t.Run("before anything else", func(t *testing.T) {
		n := natstest.Start(t, "tls: {handshake_first: true, timeout: 0.3, "+tls+"}")
		o := optionsFor(n.URL)
		refused(t, o, "handshake_first")
		o.Connect.CAFile = ours.file
		mustPublish(t, connect(t, o), "msg_1")
		clientOf(t, n)
	})
	t.Run("of both", func(t *testing.T) {
		n := natstest.Start(t, "tls: {verify_and_map: true, "+tls+"}\nauthorization: {users: [{user: \"CN=bridge\"}]}")
		o := optionsFor(n.URL)
		o.Connect.CAFile = ours.file
		refused(t, o, "certificate")
		o.Connect.CertFile, o.Connect.KeyFile = theirs.issue("bridge")
		refused(t, o, "certificate")
		o.Connect.CertFile, o.Connect.KeyFile = ours.issue("somebody")
		refused(t, o, "uthorization")
		o.Connect.CertFile, o.Connect.KeyFile = ours.issue("bridge")
		mustPublish(t, connect(t, o), "msg_1")
		if got := clientOf(t, n); got != "CN=bridge" {
			t.Errorf("the server takes it for %q", got)
		}
	})
}
