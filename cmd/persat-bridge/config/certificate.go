package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"
)

// expiresSoon is from when on an expiry is warned of: the clients of a certificate of
// three months have renewed it by then.
const expiresSoon = 14 * 24 * time.Hour

// keyPair checks a certificate and its key: both or none, and one pair.
func (l *loader) keyPair(section, cert, key string) {
	certKey, keyKey := section+".cert_file", section+".key_file"
	switch {
	case cert == "" && key != "" && !l.bad(certKey):
		l.mistake(certKey, "empty, but %s is set: they go together", keyKey)
	case key == "" && cert != "" && !l.bad(keyKey):
		l.mistake(keyKey, "empty, but %s is set: they go together", certKey)
	}
	l.readable(certKey, cert)
	l.readable(keyKey, key)
	if cert == "" || key == "" || l.bad(certKey) || l.bad(keyKey) {
		return
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		about, text := pairMistake(cert, key, err)
		l.mistake(section+"."+about, "%s", text)
		return
	}
	left := time.Until(pair.Leaf.NotAfter)
	day := pair.Leaf.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case left <= 0:
		l.warn(certKey, "the certificate has expired on %s: who connects refuses it: renew it", day)
	case left <= expiresSoon:
		l.warn(certKey, "the certificate expires on %s: renew it", day)
	}
}

// pairMistake says which of the two files is wrong, and in what. Nothing of the key is in
// it.
func pairMistake(cert, key string, err error) (about, text string) {
	if text := pemMistake(cert, "CERTIFICATE"); text != "" {
		return "cert_file", quote(cert) + " " + text
	}
	if text := pemMistake(key, "PRIVATE KEY"); text != "" {
		return "key_file", quote(key) + " " + text
	}
	return "cert_file", fmt.Sprintf("%s and %s are no pair: %s", quote(cert), quote(key), strings.TrimPrefix(err.Error(), "tls: "))
}

// pemMistake says why a file holds no usable block of a kind.
func pemMistake(file, kind string) string {
	text, err := readSmall(file)
	if err != nil {
		return err.Error()
	}
	if strings.HasPrefix(text, byteOrderMark) {
		return "begins with a byte order mark: save it without"
	}
	other := ""
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		encrypted := block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED")
		switch {
		case encrypted && kind == "PRIVATE KEY":
			return "is encrypted, and there is nobody to ask for its password: decrypt it ('openssl pkey -in OLD -out NEW')"
		case strings.HasSuffix(block.Type, kind):
			return ""
		}
		other = block.Type
	}
	switch {
	case strings.TrimSpace(text) == "":
		return "is empty"
	case other != "":
		return "has a " + other + " where a " + kind + " is wanted"
	case isDER([]byte(text)):
		return "is DER: convert it to PEM ('openssl x509 -inform der', 'openssl pkey -inform der')"
	}
	return "holds no " + kind + " in PEM"
}

func isDER(content []byte) bool {
	if _, err := x509.ParseCertificate(content); err == nil {
		return true
	}
	_, err := x509.ParsePKCS8PrivateKey(content)
	return err == nil
}

// authorities checks a file of certificates to trust.
func (l *loader) authorities(key, file string) {
	l.readable(key, file)
	if file == "" || l.bad(key) {
		return
	}
	if text := pemMistake(file, "CERTIFICATE"); text != "" {
		l.mistake(key, "%s %s", quote(file), text)
	}
}
