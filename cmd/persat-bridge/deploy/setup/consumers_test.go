package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var outsideEnv = []string{"NATS_HOSTS=nats.example.com, 10.0.0.5", "NATS_CONSUMERS=billing,reports", "NATS_SERVERS=nats://nats:4222"}

// newSecrets has the secrets of a first run.
func newSecrets(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := writeSecrets(dir, env("PERSAT_WEBHOOK_SECRET=whsec_a")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func readText(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// leafOf is the certificate of nats-outside, which its CA has signed.
func leafOf(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "nats-outside/server.pem"), filepath.Join(dir, "nats-outside/server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func authorityPool(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(readText(t, dir, "outside/ca.pem"))) {
		t.Fatal("ca.pem has no certificate")
	}
	return pool
}

func TestCertificate(t *testing.T) {
	dir := newSecrets(t)
	now := time.Now()
	write := func(at time.Time, variables ...string) string {
		t.Helper()
		var said bytes.Buffer
		if err := writeConsumers(dir, env(append(variables, outsideEnv...)...), at, &said); err != nil {
			t.Fatal(err)
		}
		return said.String()
	}
	write(now)
	ca, first := readText(t, dir, "outside/ca.pem"), leafOf(t, dir)
	for _, name := range []string{"nats.example.com", "10.0.0.5", "nats-outside", "localhost", "127.0.0.1"} {
		if _, err := first.Verify(x509.VerifyOptions{DNSName: name, Roots: authorityPool(t, dir)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := first.Verify(x509.VerifyOptions{DNSName: "other.example.com", Roots: authorityPool(t, dir)}); err == nil {
		t.Error("the certificate is for any host")
	}

	// Again, and a year later: nothing is renewed that need not be.
	write(now)
	if said := write(now.AddDate(1, 0, 0)); !leafOf(t, dir).Equal(first) || !strings.Contains(said, first.NotAfter.Format(time.DateOnly)) {
		t.Errorf("the certificate was renewed, or its end is not told: %q", said)
	}
	// Half a year before its end it is, and consumers need not hear of it.
	later := first.NotAfter.AddDate(0, -5, 0)
	write(later)
	renewed := leafOf(t, dir)
	if renewed.Equal(first) || readText(t, dir, "outside/ca.pem") != ca {
		t.Error("the certificate was not renewed, or its CA was")
	}
	if _, err := renewed.Verify(x509.VerifyOptions{DNSName: "10.0.0.5", Roots: authorityPool(t, dir), CurrentTime: later.AddDate(1, 6, 0)}); err != nil {
		t.Error(err)
	}
	// Another name.
	write(now, "NATS_HOSTS=other.example.com")
	if err := leafOf(t, dir).VerifyHostname("other.example.com"); err != nil {
		t.Error(err)
	}
	if err := leafOf(t, dir).VerifyHostname("nats.example.com"); err == nil {
		t.Error("the name that was taken away is still in the certificate")
	}
	// A key that was lost.
	if err := os.Remove(filepath.Join(dir, "nats-outside/server-key.pem")); err != nil {
		t.Fatal(err)
	}
	write(now)
	leafOf(t, dir)
	// Another CA, because the operator has removed the one before.
	for _, file := range []string{"ca.pem", "ca-key.pem"} {
		if err := os.Remove(filepath.Join(dir, "outside", file)); err != nil {
			t.Fatal(err)
		}
	}
	write(now)
	if _, err := leafOf(t, dir).Verify(x509.VerifyOptions{DNSName: "10.0.0.5", Roots: authorityPool(t, dir)}); err != nil || readText(t, dir, "outside/ca.pem") == ca {
		t.Errorf("the certificate is not of the new CA: %v", err)
	}
	// A CA whose key is gone is not replaced behind the backs of consumers.
	if err := os.Remove(filepath.Join(dir, "outside/ca-key.pem")); err != nil {
		t.Fatal(err)
	}
	if err := writeConsumers(dir, env(outsideEnv...), now, io.Discard); err == nil || !strings.Contains(err.Error(), "ca-key.pem") {
		t.Errorf("without the CA's key: got %v, want an error that names it", err)
	}
}

// A certificate of the operator's takes the place of the one that setup made, and stays.
func TestOwnCertificate(t *testing.T) {
	dir, elsewhere := newSecrets(t), newSecrets(t)
	now := time.Now()
	own := ownCertificate(t, "nats.example.com", now)
	for _, dir := range []string{dir, elsewhere} {
		if err := writeConsumers(dir, env(outsideEnv...), now, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if err := installCertificate(dir, "nats.example.com", strings.NewReader(own), now, io.Discard); err != nil {
		t.Fatal(err)
	}
	installed := leafOf(t, dir)
	var said bytes.Buffer
	if err := writeCertificate(dir, []string{"nats.example.com"}, now, &said); err != nil || !leafOf(t, dir).Equal(installed) {
		t.Errorf("the operator's certificate did not stay: %v", err)
	}
	if err := writeCertificate(dir, []string{"nats.example.com"}, installed.NotAfter.AddDate(0, 0, -7), &said); err != nil || !strings.Contains(said.String(), "WARNING") {
		t.Errorf("a week before its end: got %v %q, want a warning", err, said.String())
	}
	for _, test := range []struct {
		what, stdin, hosts, want string
		at                       time.Time
	}{
		{"nothing", "", "nats.example.com", "empty", now},
		{"no key", readText(t, elsewhere, "outside/ca.pem"), "nats.example.com", "key", now},
		{"a key of another one", readText(t, dir, "outside/ca.pem") + readText(t, elsewhere, "outside/ca-key.pem"), "nats.example.com", "match", now},
		{"another host", own, "nats.example.com,10.9.9.9", "10.9.9.9", now},
		{"expired", own, "nats.example.com", "expired", installed.NotAfter.AddDate(0, 0, 1)},
	} {
		err := installCertificate(dir, test.hosts, strings.NewReader(test.stdin), test.at, io.Discard)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", test.what, err, test.want)
		}
		if !leafOf(t, dir).Equal(installed) {
			t.Fatalf("%s: it was installed", test.what)
		}
	}
}

// ownCertificate is one of nobody that setup knows, for 90 days, with its key.
func ownCertificate(t *testing.T, host string, now time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "own"}, DNSNames: []string{host}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 0, 90)}
	cert, err := sign(template, template, key, key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := writePair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), cert, key); err != nil {
		t.Fatal(err)
	}
	return readText(t, dir, "cert.pem") + readText(t, dir, "key.pem")
}

func TestConsumersMistakes(t *testing.T) {
	for _, test := range []struct{ set, want string }{
		{"NATS_HOSTS=", "NATS_HOSTS is empty"},
		{"NATS_HOSTS=nats://nats.example.com", "without nats://"},
		{"NATS_HOSTS=nats.example.com:4222", "without a port"},
		{"NATS_CONSUMERS= , ", "NATS_CONSUMERS is empty"},
		{"NATS_CONSUMERS=../../etc/passwd", "is no name"},
		{"NATS_CONSUMERS=ca.pem", "is no name"},
		{"NATS_CONSUMERS=a,b,a", "twice"},
		{"NATS_SERVERS=nats://elsewhere:4222", "elsewhere"},
	} {
		dir := newSecrets(t)
		err := writeConsumers(dir, env(append([]string{test.set}, outsideEnv...)...), time.Now(), io.Discard)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", test.set, err, test.want)
		}
	}
}

// outsideNATS are the server with the stream and nats-outside, with the configurations of
// docker-compose.yml. It returns the address of the second one.
func outsideNATS(t *testing.T, dir string) (admin jetstream.JetStream, outside string) {
	t.Helper()
	t.Setenv("SERVER_NAME", "test")
	t.Setenv("NATS_MAX_STORE", "-1")
	start := func(secrets, file string, change func(*server.Options)) *server.Server {
		t.Helper()
		at := t.TempDir()
		if err := errors.Join(os.CopyFS(filepath.Join(at, "conf"), os.DirFS("../nats")), os.CopyFS(filepath.Join(at, "secrets"), os.DirFS(filepath.Join(dir, secrets)))); err != nil {
			t.Fatal(err)
		}
		text := readText(t, at, "conf", file)
		if err := os.WriteFile(filepath.Join(at, "conf", file), []byte(strings.ReplaceAll(text, "/nats/secrets", filepath.Join(at, "secrets"))), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := server.ProcessConfigFile(filepath.Join(at, "conf", file))
		if err != nil {
			t.Fatal(err)
		}
		o.Host, o.Port, o.NoSigs = "127.0.0.1", -1, true
		change(o)
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatalf("%s: the server does not start", file)
		}
		return s
	}
	hub := start("nats", "nats.conf", func(o *server.Options) {
		o.StoreDir, o.SyncAlways = t.TempDir(), false
		o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", -1
		o.Users = append(o.Users, &server.User{Username: "admin", Password: "admin"})
	})
	varz, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	remote := start("nats-outside", "outside.conf", func(o *server.Options) {
		for _, u := range o.LeafNode.Remotes[0].URLs {
			u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(varz.LeafNode.Port))
		}
	})
	nc, err := nats.Connect(hub.ClientURL(), nats.UserInfo("admin", "admin"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	admin, err = jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return admin, remote.Addr().String()
}

// Consumers on other hosts reach the stream by TLS alone, each as itself, and can do what
// the user consumer can.
func TestConsumerOutside(t *testing.T) {
	dir := newSecrets(t)
	if err := writeConsumers(dir, env(outsideEnv...), time.Now(), io.Discard); err != nil {
		t.Fatal(err)
	}
	admin, address := outsideNATS(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := admin.CreateStream(ctx, jetstream.StreamConfig{Name: "PERSAT", Subjects: []string{"persat.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Publish(ctx, "persat.client.created", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	billing := strings.TrimSpace(readText(t, dir, "outside/billing"))
	if billing == strings.TrimSpace(readText(t, dir, "outside/reports")) {
		t.Error("two consumers have one password")
	}

	// A client without TLS learns in the first line that it has to have it; one that sends
	// its password all the same is not let in.
	plain, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_ = plain.SetDeadline(time.Now().Add(20 * time.Second))
	line, err := bufio.NewReader(plain).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		TLSRequired bool `json:"tls_required"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil || !info.TLSRequired {
		t.Errorf("the first line is %q (%v), want tls_required", line, err)
	}
	if _, err := plain.Write([]byte(`CONNECT {"user":"billing","pass":"` + billing + `","verbose":true}` + "\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(plain); strings.Contains(string(answer), "+OK") || strings.Contains(string(answer), "PONG") {
		t.Errorf("without TLS the server answers %q", answer)
	}

	ca := nats.RootCAs(filepath.Join(dir, "outside/ca.pem"))
	for _, test := range []struct {
		what    string
		options []nats.Option
	}{
		{"another password", []nats.Option{nats.UserInfo("billing", "x"), ca}},
		{"no password", []nats.Option{ca}},
		{"the user of the bridge", []nats.Option{nats.UserInfo("bridge", strings.TrimSpace(readText(t, dir, "bridge/nats-password"))), ca}},
		{"the user of nats-outside", []nats.Option{nats.UserInfo("outside", strings.TrimSpace(readText(t, dir, "nats/outside-password"))), ca}},
		{"no CA", []nats.Option{nats.UserInfo("billing", billing)}},
	} {
		if nc, err := nats.Connect("tls://"+address, test.options...); err == nil {
			nc.Close()
			t.Errorf("%s: it connects", test.what)
		}
	}

	violations := make(chan error, 10)
	nc, err := nats.Connect("tls://"+address, nats.UserInfo("billing", billing), ca, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	// The leaf node may still be on its way to the server with the stream.
	var consumer jetstream.Consumer
	for consumer == nil {
		asked, cancel := context.WithTimeout(ctx, 2*time.Second)
		consumer, err = js.CreateOrUpdateConsumer(asked, "PERSAT", jetstream.ConsumerConfig{Durable: "billing"})
		cancel()
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	m, err := consumer.Next(jetstream.FetchContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Data()) != "hello" {
		t.Errorf("got %q", m.Data())
	}
	// Acknowledged means that the server with the stream has heard it.
	if err := m.DoubleAck(ctx); err != nil {
		t.Errorf("acknowledge: %v", err)
	}
	// It can write nothing.
	if err := nc.Publish("persat.client.created", []byte("forged")); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-violations:
		if !strings.Contains(err.Error(), "persat.client.created") {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("a consumer may publish")
	}
	stream, err := admin.Stream(ctx, "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("the stream has %d messages, want 1", n)
	}
}
