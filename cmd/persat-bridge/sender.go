package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/persat-bridge/persat-bridge/bridge/webhook"
)

// sender posts events as the real one does: JSON, signed anew at each attempt.
type sender struct {
	client *http.Client
	url    string
	secret string // empty: not signed
}

func newSender(url, secret string, connections int) *sender {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = connections
	transport.MaxConnsPerHost = connections
	client := &http.Client{
		Transport: transport,
		Timeout:   15 * time.Second,
		// The real sender follows no redirect: a delivery that gets one has failed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &sender{client: client, url: url, secret: secret}
}

// newDeliveryID looks like those of Svix.
func newDeliveryID() string { return "msg_" + ulid.Make().String() }

// answer is what the bridge said to one post.
type answer struct {
	code   int
	Status string `json:"status"`
	ID     string `json:"id"`
	Error  string `json:"error"`
	took   time.Duration
}

func (a answer) ok() bool { return a.code >= 200 && a.code < 300 }

// post makes one attempt and reads the whole answer.
func (s *sender) post(ctx context.Context, id string, body []byte) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "persat-bridge-send/"+thisVersion())
	if s.secret != "" {
		signature, err := webhook.Sign(s.secret, id, time.Now(), body)
		if err != nil {
			return answer{}, fmt.Errorf("--secret: %w", err)
		}
		for name, values := range signature {
			request.Header[name] = values
		}
	}
	begin := time.Now()
	response, err := s.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	a := answer{code: response.StatusCode, took: time.Since(begin)}
	if err != nil {
		return a, fmt.Errorf("read answer: %w", err)
	}
	if to := response.Header.Get("Location"); a.code/100 == 3 && to != "" {
		a.Error = fmt.Sprintf("redirected to %s, where the sender does not follow: set the endpoint's URL to that", shown(to, 120))
		return a, nil
	}
	if json.Unmarshal(text, &a) != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		a.Error = fmt.Sprintf("not an answer of persat-bridge: %.60q", strings.TrimSpace(line))
	}
	a.Status, a.Error = shown(a.Status, 40), shown(a.Error, 200)
	return a, nil
}

func (s *sender) close() { s.client.CloseIdleConnections() }
