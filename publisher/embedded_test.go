package publisher

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func startEmbedded(t *testing.T, o EmbeddedOptions) (*Embedded, error) {
	t.Helper()
	e, err := StartEmbedded(t.Context(), o)
	if err == nil {
		t.Cleanup(func() { _ = e.Close() })
	}
	return e, err
}

func embeddedSession(t *testing.T, e *Embedded) *session {
	t.Helper()
	o := optionsFor("")
	o.Connect = ConnectOptions{Embedded: e}
	return connect(t, o).(*session)
}

// What one life of the server acknowledged is there in the next one; in between,
// port and directory are free.
func TestEmbeddedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	address := "127.0.0.1:0"
	for life := range 2 {
		e, err := startEmbedded(t, EmbeddedOptions{Listen: address, StoreDir: dir, MaxPayload: 2 << 20})
		if err != nil {
			t.Fatal(err)
		}
		s := embeddedSession(t, e)
		if receipt := mustPublish(t, s, "msg_1"); receipt.Duplicate != (life == 1) || receipt.Sequence != 1 {
			t.Errorf("life %d: got %+v", life, receipt)
		}
		if got := s.nc.MaxPayload(); got != 2<<20 {
			t.Errorf("got max_payload %d", got)
		}
		outside := optionsFor("")
		outside.Connect.URL = e.URL()
		connect(t, outside).Close()
		address = strings.TrimPrefix(e.URL(), "nats://")
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		ended(t, s)
	}
}

// Two servers on one directory would lose messages of both.
func TestEmbeddedStoreIsLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := startEmbedded(t, EmbeddedOptions{StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := first.URL(); got != "" {
		t.Errorf("got URL %q without an address to listen on", got)
	}
	_, err = startEmbedded(t, EmbeddedOptions{StoreDir: dir})
	if err == nil || !strings.Contains(err.Error(), dir+" is in use by another process") || !strings.Contains(err.Error(), "nats.embedded.store_dir") {
		t.Errorf("got %v, want that the directory is in use", err)
	}
	mustPublish(t, embeddedSession(t, first), "msg_1") // the first one is none the worse
}

func TestEmbeddedDoesNotStart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		options EmbeddedOptions
		want    []string
	}{
		"port in use":          {EmbeddedOptions{Listen: l.Addr().String()}, []string{"nats.embedded.listen", "address already in use", "another address"}},
		"no port":              {EmbeddedOptions{Listen: "127.0.0.1"}, []string{"nats.embedded.listen", "missing port"}},
		"port with a name":     {EmbeddedOptions{Listen: "127.0.0.1:nats"}, []string{"nats.embedded.listen", `"nats" is not a number`}},
		"directory is a file":  {EmbeddedOptions{StoreDir: file}, []string{"start embedded NATS", file}},
		"nothing to store in ": {EmbeddedOptions{StoreDir: filepath.Join(file, "below")}, []string{"start embedded NATS", file}},
	} {
		if test.options.StoreDir == "" {
			test.options.StoreDir = filepath.Join(dir, "store")
		}
		_, err := startEmbedded(t, test.options)
		if err == nil {
			t.Errorf("%s: it started", name)
			continue
		}
		for _, word := range test.want {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: got %v, want a word of %q", name, err, word)
			}
		}
	}
	// None of them holds the directory.
	if _, err := startEmbedded(t, EmbeddedOptions{StoreDir: filepath.Join(dir, "store")}); err != nil {
		t.Error(err)
	}
}

// A store is new until a stream was in it: then a stream that is missing may be one that the
// server cannot read.
func TestEmbeddedKnowsANewStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, want := range []bool{true, false} {
		e, err := StartEmbedded(t.Context(), EmbeddedOptions{StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if got := e.IsNew(); got != want {
			t.Errorf("got new %v, want %v", got, want)
		}
		p, err := New(Options{Connect: ConnectOptions{Embedded: e}, Stream: StreamOptions{Name: "PERSAT", Manage: true}, Prefixes: map[string]string{"persat": "persat"}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
