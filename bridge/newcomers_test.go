package bridge_test

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// An event may arrive under a name that nobody has read. It is published, and said once.
func TestUnknownTypeIsLoggedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	core, logs := observer.New(zap.InfoLevel)
	r.open(true, func(o *bridge.Options) { o.Log = zap.New(core) })
	form := func(id string) bridge.Delivery {
		return bridge.Delivery{Source: "persat", ID: id, Type: "digitalForm.created", Kind: "form", Entities: []string{"1"}, Body: []byte(`{}`)}
	}
	r.accept(form("a"), bridge.Accepted)
	r.accept(form("b"), bridge.Accepted)
	r.accept(form("b"), bridge.Duplicate)
	r.accept(delivery("c", "1"), bridge.Accepted)
	r.drained()
	said := logs.FilterMessageSnippet("the catalogue does not know").All()
	if len(said) != 1 {
		t.Fatalf("got %d lines, want one", len(said))
	}
	fields := said[0].ContextMap()
	if fields["type"] != "digitalForm.created" || fields["payload_of"] != "form" || fields["source"] != "persat" {
		t.Errorf("got %v", fields)
	}
}
