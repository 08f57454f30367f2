package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// newPair writes name.crt and name.key, valid for so long from now on.
func newPair(t *testing.T, name string, valid time.Duration) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(valid),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = name+".crt", name+".key"
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	return cert, key
}

// check said "configuration ok" of a certificate with which serve then did not start.
func TestKeyPair(t *testing.T) {
	t.Chdir(t.TempDir())
	newPair(t, "a", 365*24*time.Hour)
	newPair(t, "b", 365*24*time.Hour)
	newPair(t, "old", -time.Hour)
	newPair(t, "soon", 72*time.Hour)
	block, _ := pem.Decode([]byte(read(t, "a.crt")))
	write(t, "der.crt", string(block.Bytes))
	write(t, "bom.crt", byteOrderMark+read(t, "a.crt"))
	write(t, "empty.crt", "")
	write(t, "encrypted.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	for _, c := range []struct{ name, cert, key, want, warning string }{
		{"a pair", "a.crt", "a.key", "", ""},
		{"of two pairs", "a.crt", "b.key", `server.tls.cert_file: "a.crt" and "b.key" are no pair: private key does not match public key`, ""},
		{"swapped", "a.key", "a.crt", `server.tls.cert_file: "a.key" has a PRIVATE KEY where a CERTIFICATE is wanted`, ""},
		{"an encrypted key", "a.crt", "encrypted.key", `server.tls.key_file: "encrypted.key" is encrypted`, ""},
		{"DER", "der.crt", "a.key", `server.tls.cert_file: "der.crt" is DER`, ""},
		{"empty", "empty.crt", "a.key", `server.tls.cert_file: "empty.crt" is empty`, ""},
		{"a byte order mark", "bom.crt", "a.key", `server.tls.cert_file: "bom.crt" begins with a byte order mark`, ""},
		{"expired", "old.crt", "old.key", "", "the certificate has expired on "},
		{"soon expired", "soon.crt", "soon.key", "", "the certificate expires on "},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(t, "config.yaml", "server: {tls: {cert_file: "+c.cert+", key_file: "+c.key+"}}\n")
			_, warnings, err := Load("", []string{"PERSAT_WEBHOOK_SECRET=" + secret})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %s", err, c.want)
			}
			if c.warning == "" && len(warnings) > 0 || c.warning != "" && (len(warnings) != 1 || !strings.HasPrefix(warnings[0].Text, c.warning)) {
				t.Errorf("got warnings %v, want %q", warnings, c.warning)
			}
		})
	}

	// The key and the authorities of the connection to NATS, too.
	write(t, "config.yaml", "nats: {url: nats.example.com, tls: {ca_file: a.key, cert_file: a.crt, key_file: b.key}}\n")
	_, _, err := Load("", []string{"PERSAT_WEBHOOK_SECRET=" + secret})
	if mistakes, ok := err.(Mistakes); !ok || len(mistakes) != 2 {
		t.Errorf("got %v, want a mistake for nats.tls.ca_file and one for nats.tls.cert_file", err)
	}
}
