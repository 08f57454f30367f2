package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// certificate is a pair of files that may be renewed under a running process.
type certificate struct {
	certFile, keyFile string
	log               *zap.Logger

	mu      sync.Mutex
	looked  time.Time
	loaded  *tls.Certificate
	changed time.Time // when the files last changed, as loaded
	failure string    // why they could not be loaded since, as logged
}

// loadCertificate reads the pair. From then on the newest pair that fits is
// served, and what does not fit is logged.
func loadCertificate(certFile, keyFile string, log *zap.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// serverTLS takes TLS 1.2 and newer; the rest is Go's defaults, which are kept
// up with what is known about ciphers.
func (c *certificate) serverTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// get returns the certificate for a handshake. It looks at the files once a
// second at most.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) >= time.Second {
		changed, err := c.modified()
		if err != nil || !changed.Equal(c.changed) {
			c.renew()
		}
	}
	return c.loaded, nil
}

// refresh looks at the files as a handshake does, for when there is none.
func (c *certificate) refresh() { _, _ = c.get(nil) }

func (c *certificate) notAfter() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loaded.Leaf.NotAfter
}

// warnFrom is from when on the expiry is warned of: two weeks before, or the last quarter
// of a certificate that is short-lived.
func (c *certificate) warnFrom() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	leaf := c.loaded.Leaf
	return leaf.NotAfter.Add(-min(14*24*time.Hour, leaf.NotAfter.Sub(leaf.NotBefore)/4))
}

// reload reads the files again, changed or not.
func (c *certificate) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.renew()
}

// renew tells the log of a new pair, and once of one that does not load: between
// the writes of the two files they do not fit, and the old pair serves on.
func (c *certificate) renew() error {
	before := c.loaded.Leaf
	err := c.load()
	switch {
	case err != nil && err.Error() != c.failure:
		c.failure = err.Error()
		c.log.Warn("the certificate cannot be loaded; the one before is served", zap.Error(err), zap.Time("not_after", before.NotAfter))
	case err == nil && (c.failure != "" || !c.loaded.Leaf.Equal(before)):
		c.failure = ""
		c.log.Info("new certificate", zap.Time("not_after", c.loaded.Leaf.NotAfter))
	}
	return err
}

func (c *certificate) load() error {
	c.looked = time.Now()
	// Before the files are read: what changes meanwhile is found the next time.
	changed, err := c.modified()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("load %s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.loaded, c.changed = &pair, changed
	return nil
}

// modified is the later of the files' times.
func (c *certificate) modified() (time.Time, error) {
	var last time.Time
	for _, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return last, err
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last, nil
}
