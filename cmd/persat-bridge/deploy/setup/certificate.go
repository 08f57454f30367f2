package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	// authorityYears is how long the CA is valid: each consumer has it in a file.
	authorityYears = 20
	// certificateDays is how long the server's certificate is valid. It is renewed when a
	// quarter of that is left and setup runs.
	certificateDays = 730
	// warnBefore is how long before the end of a certificate that is not renewed by itself
	// setup says so.
	warnBefore = 30 * 24 * time.Hour
)

// authorityName begins the name of each CA that setup makes, by which certificates of an
// earlier one are known.
const authorityName = "persat-bridge NATS CA"

// always are the names under which nats-outside is found here: on its network, and on
// this host.
var always = []string{"nats-outside", "localhost", "127.0.0.1", "::1"}

// hostName is a name in DNS.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

// parseHosts reads NATS_HOSTS.
func parseHosts(text string) ([]string, error) {
	hosts := list(text)
	if len(hosts) == 0 {
		return nil, errors.New("NATS_HOSTS is empty: set it in .env to the names and addresses under which consumers reach this host, as in NATS_HOSTS=nats.example.com,10.0.0.5")
	}
	for _, host := range hosts {
		if net.ParseIP(host) == nil && !hostName.MatchString(host) {
			return nil, fmt.Errorf("NATS_HOSTS: %q is neither a name nor an address: write it without nats:// and without a port", host)
		}
	}
	return hosts, nil
}

// writeCertificate makes a CA when there is none, and a certificate of it for hosts when
// there is none, it is for other hosts, or it ends soon. A certificate of another CA is
// the operator's, and stays.
func writeCertificate(dir string, hosts []string, now time.Time, stderr io.Writer) error {
	certFile, keyFile := filepath.Join(dir, "nats-outside/server.pem"), filepath.Join(dir, "nats-outside/server-key.pem")
	ca, caKey, err := authority(filepath.Join(dir, "outside"), now)
	if err != nil {
		return err
	}
	hosts = slices.Concat(hosts, always)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && !strings.HasPrefix(pair.Leaf.Issuer.CommonName, authorityName) {
		return checkOwn(pair.Leaf, hosts[:len(hosts)-len(always)], now, stderr)
	}
	if err == nil && pair.Leaf.CheckSignatureFrom(ca) == nil && missing(pair.Leaf, hosts) == "" && len(pair.Leaf.DNSNames)+len(pair.Leaf.IPAddresses) == len(hosts) &&
		pair.Leaf.NotAfter.Sub(now) > certificateDays*24*time.Hour/4 {
		fmt.Fprintf(stderr, "setup: the certificate of nats-outside is valid until %s\n", pair.Leaf.NotAfter.Format(time.DateOnly))
		return nil
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: hosts[0]},
		NotBefore:   now.Add(-time.Hour), // the clocks of consumers
		NotAfter:    now.AddDate(0, 0, certificateDays),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if template.NotAfter.After(ca.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	if left := template.NotAfter.Sub(now); left < certificateDays*24*time.Hour/4 {
		fmt.Fprintf(stderr, "setup: WARNING: the CA ends on %s: remove ca.pem and ca-key.pem from the volume outside-secrets, run setup-consumers, and give every consumer the new ca.pem\n", ca.NotAfter.Format(time.DateOnly))
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	cert, err := sign(template, ca, key, caKey)
	if err != nil {
		return err
	}
	if err := writePair(certFile, keyFile, cert, key); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "setup: nats-outside has a new certificate for %s, valid until %s\n", strings.Join(hosts, ", "), template.NotAfter.Format(time.DateOnly))
	return nil
}

// authority returns the CA, which it makes when there is none.
func authority(dir string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil {
		key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
		if !ok || !pair.Leaf.IsCA {
			return nil, nil, fmt.Errorf("%s is no CA that setup made: put it back, or remove it and %s, and give every consumer the new one", certFile, keyFile)
		}
		return pair.Leaf, key, nil
	}
	_, noCert := os.Stat(certFile)
	if !errors.Is(noCert, fs.ErrNotExist) {
		// Consumers have it: it is not replaced by itself.
		return nil, nil, fmt.Errorf("the CA cannot be read: %w: put it back, or remove %s and %s, and give every consumer the new one", err, certFile, keyFile)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: authorityName + " " + now.UTC().Format(time.DateOnly)},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(authorityYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	cert, err := sign(template, template, key, key)
	if err != nil {
		return nil, nil, err
	}
	if err := writePair(certFile, keyFile, cert, key); err != nil {
		return nil, nil, err
	}
	ca, err := x509.ParseCertificate(cert)
	return ca, key, err
}

func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	return x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
}

// writePair writes the key first: of a pair that does not fit, the next run makes another.
func writePair(certFile, keyFile string, cert []byte, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := write(keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))); err != nil {
		return err
	}
	return write(certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
}

// installCertificate takes a certificate with its chain, and its key, from the operator.
func installCertificate(dir, hosts string, stdin io.Reader, now time.Time, stderr io.Writer) error {
	text, err := io.ReadAll(io.LimitReader(stdin, 1<<20))
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return errors.New("certificate: standard input is empty: cat cert.pem key.pem | docker-compose run --rm -T setup-consumers certificate")
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return fmt.Errorf("certificate: %w: standard input has to have the certificate, the chain after it, and the key without a passphrase, in PEM", err)
	}
	names, err := parseHosts(hosts)
	if err != nil {
		return err
	}
	if err := checkOwn(pair.Leaf, names, now, stderr); err != nil {
		return err
	}
	var certs, key strings.Builder
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		into := &key
		if block.Type == "CERTIFICATE" {
			into = &certs
		}
		if err := pem.Encode(into, block); err != nil {
			return err
		}
	}
	if err := write(filepath.Join(dir, "nats-outside/server-key.pem"), key.String()); err != nil {
		return err
	}
	return write(filepath.Join(dir, "nats-outside/server.pem"), certs.String())
}

// checkOwn says what is wrong with a certificate that is not of the CA here.
func checkOwn(cert *x509.Certificate, hosts []string, now time.Time, stderr io.Writer) error {
	if host := missing(cert, hosts); host != "" {
		return fmt.Errorf("the certificate is not for %s, which NATS_HOSTS has: consumers would refuse it", host)
	}
	end := cert.NotAfter.Format(time.DateOnly)
	switch left := cert.NotAfter.Sub(now); {
	case left <= 0:
		return fmt.Errorf("the certificate of nats-outside has expired on %s: install a new one with setup-consumers certificate", end)
	case left < warnBefore:
		fmt.Fprintf(stderr, "setup: WARNING: the certificate of nats-outside, which is not of the CA here, ends on %s: install a new one with setup-consumers certificate\n", end)
	default:
		fmt.Fprintf(stderr, "setup: nats-outside has a certificate of another CA, valid until %s\n", end)
	}
	return nil
}

// missing is a host that a certificate is not for, or "".
func missing(cert *x509.Certificate, hosts []string) string {
	for _, host := range hosts {
		if cert.VerifyHostname(host) != nil {
			return host
		}
	}
	return ""
}
