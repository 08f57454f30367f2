package bridge_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/publisher"
)

// An old copy of the journal is put back, older than the duplicate window (here 500 ms
// instead of 2 h): what the stream has already is not published again.
func TestOldCopyOfTheJournal(t *testing.T) {
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

type publisherFunc func(context.Context) (bridge.Session, error)

func (f publisherFunc) Connect(ctx context.Context) (bridge.Session, error) { return f(ctx) }
