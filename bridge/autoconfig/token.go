// Package autoconfig reads the AutoConfig token that the sender's portal shows for an
// endpoint, and sets or compares that endpoint.
//
// The token is "auto_v1_" and base64 of a JSON object (Svix's documentation; that
// Persat's portal offers it is inferred). It holds the endpoint's signing secret and a
// key to the endpoint's settings, so it is a secret as a whole: no error, log line or
// String of this package shows any of it but the ids and the server.
package autoconfig

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
)

// prefix begins every token of the one version that is known.
const prefix = "auto_v1_"

// Token is what a token holds.
type Token struct {
	// App and Endpoint are ids of the sender's.
	App, Endpoint string
	// Server is the base URL of the sender's API, https or on loopback.
	Server *url.URL

	secret string
	key    string
}

// IsToken says whether s is meant to be one.
func IsToken(s string) bool { return strings.HasPrefix(s, prefix) }

var errToken = errors.New("not an AutoConfig token: copy it whole, auto_v1_…, from the sender's portal")

// Parse reads a token. Its errors quote nothing of it.
func Parse(s string) (Token, error) {
	text, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return Token{}, errToken
	}
	decoded, err := decode(text)
	if err != nil {
		return Token{}, errToken
	}
	var members struct {
		App      string `json:"aid"`
		Endpoint string `json:"eid"`
		Server   string `json:"surl"`
		Secret   string `json:"esec"`
		Key      string `json:"tok"`
	}
	if json.Unmarshal(decoded, &members) != nil {
		return Token{}, errToken
	}
	server, err := url.Parse(members.Server)
	switch {
	case members.Secret == "":
		return Token{}, errors.New("the AutoConfig token holds no signing secret: make a new one in the sender's portal")
	case members.App == "" || members.Endpoint == "" || members.Key == "":
		return Token{}, errors.New("the AutoConfig token names no endpoint: make a new one in the sender's portal")
	case err != nil || server.Hostname() == "" || server.User != nil || server.Scheme != "https" && !onLoopback(server):
		return Token{}, errors.New("the AutoConfig token names no https server: make a new one in the sender's portal")
	}
	server.RawQuery, server.Fragment = "", ""
	return Token{App: members.App, Endpoint: members.Endpoint, Server: server, secret: members.Secret, key: members.Key}, nil
}

// decode reads base64 of either alphabet, with or without padding.
func decode(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if strings.ContainsAny(s, "-_") {
		return base64.RawURLEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}

func onLoopback(u *url.URL) bool {
	host := u.Hostname()
	return u.Scheme == "http" && (host == "127.0.0.1" || host == "::1" || host == "localhost")
}

// String shows what may be seen of it.
func (t Token) String() string {
	return "endpoint " + t.Endpoint + " of application " + t.App + " at " + t.Server.Host
}

// GoString is String, so that no formatting shows the rest.
func (t Token) GoString() string { return t.String() }

// SigningSecret is the secret that signs: s itself, or the one in the token that s is.
func SigningSecret(s string) (string, error) {
	if !IsToken(s) {
		return s, nil
	}
	t, err := Parse(s)
	return t.secret, err
}
