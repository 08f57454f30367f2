package autoconfig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Settings are what the sender keeps of an endpoint, as far as it is used here.
type Settings struct {
	// URL is where it delivers to; empty before it was set.
	URL string `json:"url"`
	// Types are the event types that it delivers; empty for all.
	Types []string `json:"filterTypes"`
	// Disabled says that it delivers nothing.
	Disabled bool `json:"disabled"`
}

// Client talks to the sender's API about the endpoint of one token. It follows no
// redirect, which would carry the key elsewhere.
type Client struct {
	token Token
	http  http.Client
}

// NewClient uses transport, or one like http.DefaultTransport when that is nil.
func NewClient(t Token, transport http.RoundTripper) *Client {
	return &Client{token: t, http: http.Client{
		Transport:     transport,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Get returns the settings as they are.
func (c *Client) Get(ctx context.Context) (Settings, error) {
	body, err := c.do(ctx, http.MethodGet, "", nil)
	if err != nil {
		return Settings{}, fmt.Errorf("read the endpoint: %w", err)
	}
	var s Settings
	if json.Unmarshal(body, &s) != nil {
		return Settings{}, errors.New("read the endpoint: the answer is not that of the sender's API")
	}
	return s, nil
}

// Set sets the URL and the event types.
func (c *Client) Set(ctx context.Context, s Settings) error {
	body, err := json.Marshal(map[string]any{"endpoint": map[string]any{"url": s.URL, "filterTypes": s.Types}})
	if err != nil {
		return err
	}
	if _, err := c.do(ctx, http.MethodPut, "/auto-config", body); err != nil {
		return fmt.Errorf("set the endpoint: %w", err)
	}
	return nil
}

// maxAnswer bounds an answer in memory.
const maxAnswer = 1 << 20

func (c *Client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	address := c.token.Server.JoinPath("api", "v1", "app", url.PathEscape(c.token.App), "endpoint", url.PathEscape(c.token.Endpoint)).String() + path
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the token makes no request: make a new one in the sender's portal")
	}
	r.Header.Set("Authorization", "Bearer "+c.token.key)
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok { // which quotes the whole address
			err = e.Err
		}
		return nil, fmt.Errorf("%s is not reached: %w", c.token.Server.Host, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s broke off: %w", c.token.Server.Host, err)
	}
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return nil, fmt.Errorf("%s refuses the token (%d): make a new one in the sender's portal", c.token.Server.Host, code)
	case code == http.StatusNotFound:
		return nil, fmt.Errorf("%s does not know the endpoint (404): it was deleted, or the token is of another account", c.token.Server.Host)
	case code < 200 || code > 299:
		return nil, fmt.Errorf("%s answers %d", c.token.Server.Host, code)
	}
	return text, nil
}
