package bridge_test

import (
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Client 48 and work order 48 have nothing in common but the number: the one waited for
// the other when order was by source and id alone.
func TestKindsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &silent{memory: &memory{created: "1"}}
		b, stop := runInBubble(t, vfs.NewMem(), p)
		for _, event := range []struct{ id, eventType string }{
			{"a", "slow"}, {"b", "workorder.created"}, {"c", "slow.changed"}, {"d", "workorder.closed"},
		} {
			d := delivery(event.id, "48")
			d.Type = event.eventType
			if _, err := b.Accept(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := p.stored(); len(got) != 2 || got[0] != "persat:b" || got[1] != "persat:d" {
			t.Errorf("the stream has %v, want both events of work order 48; the one of kind slow behind another waits", got)
		}
		p.answer()
		stop()
	})
}

// An event under a word that nobody knows is of the kind that its payload shows, and
// waits for the others of its entity.
func TestKindOfThePayloadOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &silent{memory: &memory{created: "1"}}
		b, stop := runInBubble(t, vfs.NewMem(), p)
		for _, event := range []struct{ id, eventType, kind string }{
			{"a", "slow", "workorder"}, {"b", "workorder.created", ""}, {"c", "ot.changed", "workorder"}, {"d", "ot.changed", ""},
		} {
			d := delivery(event.id, "48")
			d.Type, d.Kind = event.eventType, event.kind
			if _, err := b.Accept(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := p.stored(); len(got) != 1 || got[0] != "persat:d" {
			t.Errorf("the stream has %v, want the event of kind ot alone: the others wait for the first of work order 48", got)
		}
		p.answer()
		stop()
	})
}
