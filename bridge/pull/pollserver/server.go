// Package pollserver is a polling endpoint as Svix documents it, over items in memory:
// for tests, and for trying pull without an account of the sender's.
package pollserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Item is one event. EventType and Payload are JSON, served byte for byte.
type Item struct {
	ID        string
	EventType json.RawMessage
	Payload   json.RawMessage
	Timestamp time.Time
	// Raw, when set, is served in place of all the other fields.
	Raw json.RawMessage
}

// Server is an http.Handler, safe for concurrent use.
type Server struct {
	token string

	mu       sync.Mutex
	items    []Item
	iterator string // begins every iterator; another one forgets those given before
	fault    func(http.ResponseWriter, *http.Request) bool
	requests int
}

// New serves those who have the token.
func New(token string) *Server { return &Server{token: token, iterator: "a"} }

// Add appends items, in the order in which they are served.
func (s *Server) Add(items ...Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = append(s.items, items...)
}

// Forget makes every iterator given so far unknown.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.iterator += "a"
}

// Fault lets f answer a request in the server's place; it returns false to let the
// server answer. nil ends that.
func (s *Server) Fault(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Requests is how many there were, faults included.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests++
	fault := s.fault
	s.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed, "method_not_allowed")
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+s.token {
		refuse(w, http.StatusUnauthorized, "authentication_failed")
		return
	}
	page, code := s.page(r)
	if code != "" {
		refuse(w, http.StatusUnprocessableEntity, code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(page)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"code":%q,"detail":%q}`, code, code)
}

// page answers one request, or says which of its parameters is wrong.
func (s *Server) page(r *http.Request) (body []byte, wrong string) {
	query := r.URL.Query()
	limit := 50
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 250 {
			return nil, "limit"
		}
		limit = n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := 0
	if text := query.Get("iterator"); text != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(text, s.iterator+"_"))
		if err != nil || n > len(s.items) {
			return nil, "iterator"
		}
		at = n
	} else if text := query.Get("after"); text != "" {
		after, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, "after"
		}
		for at < len(s.items) && !s.items[at].Timestamp.After(after) {
			at++
		}
	}
	types := query["event_type"]
	body = []byte(`{"data":[`)
	for n := 0; at < len(s.items) && n < limit; at++ {
		item := s.items[at]
		if len(types) > 0 && !wanted(types, item.EventType) {
			continue
		}
		if n > 0 {
			body = append(body, ',')
		}
		body = item.append(body)
		n++
	}
	return fmt.Appendf(body, `],"iterator":"%s_%d","done":%t}`, s.iterator, at, at == len(s.items)), ""
}

func wanted(types []string, eventType json.RawMessage) bool {
	for _, t := range types {
		if strconv.Quote(t) == string(eventType) {
			return true
		}
	}
	return false
}

func (i Item) append(b []byte) []byte {
	if i.Raw != nil {
		return append(b, i.Raw...)
	}
	return fmt.Appendf(b, `{"eventType":%s,"payload":%s,"id":%q,"timestamp":%q,"channels":null,"tags":null}`,
		i.EventType, i.Payload, i.ID, i.Timestamp.UTC().Format(time.RFC3339Nano))
}
