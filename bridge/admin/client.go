package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Client talks to the admin listener of a running bridge.
type Client struct {
	// Address is host:port.
	Address string
	// Token is the admin token, or empty.
	Token string
}

// Query says what a call is about; its fields are those of the API's parameters.
type Query struct {
	IDs          []string
	Records      []uint
	Source, Type string
	Reason       string
	Since, Until string
	All, DryRun  bool
	// Missing takes, of a replay, what the stream lacks for no known reason.
	Missing bool
	// Limit bounds a list, which begins behind the record After.
	Limit int
	After uint64
}

func (q Query) values() url.Values {
	v := url.Values{}
	for _, id := range q.IDs {
		v.Add("id", id)
	}
	for _, record := range q.Records {
		v.Add("record", fmt.Sprint(record))
	}
	for name, value := range map[string]string{"source": q.Source, "type": q.Type, "reason": q.Reason, "since": q.Since, "until": q.Until} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, set := range map[string]bool{"all": q.All, "dry_run": q.DryRun, "missing": q.Missing} {
		if set {
			v.Set(name, "true")
		}
	}
	if q.Limit > 0 {
		v.Set("limit", fmt.Sprint(q.Limit))
	}
	if q.After > 0 {
		v.Set("after", fmt.Sprint(q.After))
	}
	return v
}

// Empty says that the query picks everything.
func (q Query) Empty() bool {
	return len(q.IDs)+len(q.Records) == 0 && q.Source == "" && q.Type == "" && q.Reason == "" && q.Since == "" && q.Until == "" && !q.Missing
}

// Status asks for the state of the bridge.
func (c *Client) Status(ctx context.Context) (s StatusAnswer, err error) {
	return s, c.call(ctx, http.MethodGet, "/api/status", nil, &s)
}

// Stream asks for the stream as it is now.
func (c *Client) Stream(ctx context.Context) (a StreamAnswer, err error) {
	return a, c.call(ctx, http.MethodGet, "/api/stream", nil, &a)
}

// RecreateStream permits the bridge to create the stream that NATS does not find.
func (c *Client) RecreateStream(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/api/stream/recreate", nil, nil)
}

// Learn asks what the bodies accepted since then have shown; zero is all of them.
func (c *Client) Learn(ctx context.Context, since time.Time) (lessons json.RawMessage, err error) {
	q := url.Values{}
	if !since.IsZero() {
		q.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	return lessons, c.call(ctx, http.MethodGet, "/api/learn", q, &lessons)
}

// Event asks for one record with its body.
func (c *Client) Event(ctx context.Context, record uint64) (r bridge.Record, err error) {
	return r, c.call(ctx, http.MethodGet, fmt.Sprintf("/api/events/%d", record), nil, &r)
}

// Events lists events, the newest first.
func (c *Client) Events(ctx context.Context, q Query) (page EventPage, err error) {
	return page, c.call(ctx, http.MethodGet, "/api/events", q.values(), &page)
}

// Dead lists dead letters.
func (c *Client) Dead(ctx context.Context, q Query) (page DeadPage, err error) {
	return page, c.call(ctx, http.MethodGet, "/api/dead", q.values(), &page)
}

// AllDead lists all the dead letters that fit.
func (c *Client) AllDead(ctx context.Context, q Query) (DeadPage, error) {
	q.Limit = maxLimit
	all, err := c.Dead(ctx, q)
	for page := all; err == nil && len(page.Dead) == maxLimit; {
		q.After = page.Dead[maxLimit-1].Record
		if page, err = c.Dead(ctx, q); err == nil {
			all.Dead = append(all.Dead, page.Dead...)
		}
	}
	return all, err
}

// ReplayDead makes dead letters pending again.
func (c *Client) ReplayDead(ctx context.Context, q Query) (n Changed, err error) {
	return n, c.call(ctx, http.MethodPost, "/api/dead/replay", q.values(), &n)
}

// DiscardDead drops dead letters.
func (c *Client) DiscardDead(ctx context.Context, q Query) (n Changed, err error) {
	return n, c.call(ctx, http.MethodPost, "/api/dead/discard", q.values(), &n)
}

// StartReplay starts a replay, or counts what it would be.
func (c *Client) StartReplay(ctx context.Context, q Query) (a ReplayAnswer, err error) {
	return a, c.call(ctx, http.MethodPost, "/api/replay", q.values(), &a)
}

// Replay asks how far the replay is.
func (c *Client) Replay(ctx context.Context) (r bridge.Replay, err error) {
	return r, c.call(ctx, http.MethodGet, "/api/replay", nil, &r)
}

// CancelReplay ends the replay early.
func (c *Client) CancelReplay(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/api/replay", nil, nil)
}

func (c *Client) call(ctx context.Context, method, path string, q url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute) // a journal of millions is gone through
	defer cancel()
	address := url.URL{Scheme: "http", Host: c.Address, Path: path, RawQuery: q.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, address.String(), nil)
	if err != nil {
		return err
	}
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("no bridge answers at %s (admin.listen): is 'serve' running with this configuration? %w", c.Address, err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNoContent {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, 128<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	var refusal struct {
		Error string `json:"error"`
	}
	if response.StatusCode/100 == 2 {
		if json.Unmarshal(text, into) != nil {
			return c.stranger(response.StatusCode, text)
		}
		return nil
	}
	if json.Unmarshal(text, &refusal) != nil || refusal.Error == "" {
		return c.stranger(response.StatusCode, text)
	}
	if response.StatusCode == http.StatusUnauthorized {
		refusal.Error += "; set admin.token or admin.token_file as the running bridge has it"
	}
	return fmt.Errorf("the bridge answered %d: %s", response.StatusCode, refusal.Error)
}

// stranger says that something else answers at the address, with its first line to know
// it by.
func (c *Client) stranger(code int, text []byte) error {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return fmt.Errorf("not an answer of persat-bridge at %s (admin.listen): %d %.60q: is something else on that port?", c.Address, code, strings.TrimSpace(line))
}
