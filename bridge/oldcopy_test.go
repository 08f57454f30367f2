package bridge_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher"
)

// An old copy of the journal is put back, older than the duplicate window (here 500 ms
// instead of 2 h): what the stream has already is not published again.
func TestOldCopyOfTheJournal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := publisherFunc(func(ctx context.Context) (bridge.Session, error) {
		server := r.nats.Load()
		if server == nil {
			return nil, errors.New("no server")
		}
		js, err := publisher.New(publisher.Options{Connect: publisher.ConnectOptions{Embedded: server},
			Stream:   publisher.StreamOptions{Name: "PERSAT", Manage: true, DuplicateWindow: 500 * time.Millisecond},
			Prefixes: map[string]string{"persat": "persat"}, AckTimeout: 2 * time.Second})
		if err != nil {
			return nil, err
		}
		return js.Connect(ctx)
	})
	with := func(o *bridge.Options) { o.Publisher = p }
	r.open(true, with)
	r.accept(delivery("before", "1"), bridge.Accepted)
	r.drained()
	r.stopNATS()
	for _, id := range []string{"a", "b", "c"} { // an outage, in which the copy is made
		r.accept(delivery(id, "1"), bridge.Accepted)
	}
	r.stop()
	dir, kept := filepath.Join(r.dir, "journal"), filepath.Join(r.dir, "copy")
	if err := os.CopyFS(kept, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	r.startNATS()
	r.open(true, with)
	r.drained()
	r.stop()
	time.Sleep(time.Second) // the duplicate window passes
	os.RemoveAll(dir)
	if err := os.Rename(kept, dir); err != nil { // the restore
		t.Fatal(err)
	}
	r.open(true, with)
	r.drained()
	if has := len(r.messages()); has != 4 {
		t.Errorf("the stream has %d messages for 4 events: what had been published since the copy is published again", has)
	}
}

// An old copy of the journal is put back, and before NATS is there the sender repeats what
// the copy does not know. The stream has it, and twice: it was repeated before, too, later
// than the duplicate window. It is neither sent nor counted again.
func TestRepeatsMeetAnOldCopyOfTheJournal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	r.accept(delivery("before", "1"), bridge.Accepted)
	r.drained()
	r.stop()
	dir, kept := filepath.Join(r.dir, "journal"), filepath.Join(r.dir, "copy")
	if err := os.CopyFS(kept, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	r.open(true)
	r.accept(delivery("a", "1"), bridge.Accepted)
	r.accept(delivery("b", "2"), bridge.Accepted)
	r.drained()
	r.stop()
	js, hangUp := r.js()
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.Duplicates = 100 * time.Millisecond
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	// A running server may keep the ids that it has for as long as its old window.
	hangUp()
	r.stopNATS()
	r.startNATS()
	js, hangUp = r.js()
	testwait.Eventually(t, "the repeat is stored", func() bool {
		m := r.messages()[1]
		ack, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: m.Subject, Data: m.Data, Header: m.Header})
		return err == nil && !ack.Duplicate
	})
	hangUp()
	r.stopNATS()
	os.RemoveAll(dir)
	if err := os.Rename(kept, dir); err != nil { // the restore
		t.Fatal(err)
	}
	var told strings.Builder
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(zapcore.AddSync(&told)), zap.InfoLevel))
	r.open(true, func(o *bridge.Options) { o.Log = log })
	r.accept(delivery("a", "1"), bridge.Accepted)
	r.accept(delivery("b", "2"), bridge.Accepted)
	if pending := r.bridge.Status(t.Context()).Pending; pending != 2 {
		t.Fatalf("%d events are pending, want 2", pending)
	}
	r.startNATS()
	r.drained()
	r.accept(delivery("c", "1"), bridge.Accepted)
	testwait.Eventually(t, "c is stored", func() bool { return len(r.messages()) >= 5 })
	r.drained()
	r.stopNATS()
	r.accept(delivery("d", "1"), bridge.Accepted)
	if pending := r.bridge.Status(t.Context()).Pending; pending != 1 {
		t.Errorf("%d events are pending, want 1", pending)
	}
	r.stop()
	if !strings.Contains(told.String(), "they are not published again") {
		t.Errorf("nothing was adopted: %s", told.String())
	}
	r.startNATS()
	var ids []string
	for _, m := range r.messages() {
		ids = append(ids, m.Header.Get("ce-id"))
	}
	if want := []string{"before", "a", "b", "a", "c"}; !slices.Equal(ids, want) {
		t.Errorf("the stream has %q, want %q", ids, want)
	}
}

type publisherFunc func(context.Context) (bridge.Session, error)

func (f publisherFunc) Connect(ctx context.Context) (bridge.Session, error) { return f(ctx) }
