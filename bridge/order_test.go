package bridge_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Client 48 and work order 48 have nothing in common but the number: the one waited for
// the other when order was by source and id alone.
func TestKindsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

func TestEventsOfAnEntityStayInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(false)
	random := rand.New(rand.NewPCG(1, 2))
	want := make(map[string][]string)
	for i := range 2000 {
		id := fmt.Sprintf("msg_%d", i)
		d := delivery(id, fmt.Sprint(random.IntN(20)))
		if random.IntN(10) == 0 { // a bulk event speaks of several
			d.Entities = append(d.Entities, fmt.Sprint(random.IntN(20)), fmt.Sprint(random.IntN(20)))
		}
		r.accept(d, bridge.Accepted)
		seen := make(map[string]bool)
		for _, e := range d.Entities {
			if !seen[e] {
				want[e] = append(want[e], "persat:"+id)
			}
			seen[e] = true
		}
	}
	r.stop()
	r.open(true) // what was pending at the end of a process goes out in the next
	r.drained()
	place := make(map[string]int)
	messages := r.messages()
	for i, m := range messages {
		place[m.Header["Nats-Msg-Id"][0]] = i
	}
	if len(messages) != 2000 || len(place) != 2000 {
		t.Fatalf("got %d messages with %d ids, want 2000", len(messages), len(place))
	}
	for entity, ids := range want {
		for i := 1; i < len(ids); i++ {
			if place[ids[i-1]] > place[ids[i]] {
				t.Errorf("entity %s: %s is before %s", entity, ids[i], ids[i-1])
			}
		}
	}
}

// Events that Run had taken notice of before the link was lost stand in their lanes
// when heal makes older ones of the same entity pending.
func TestHealedEventsComeBeforeThoseThatWaited(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.accept(delivery("old", "1"), bridge.Accepted)
	r.drained()
	tried := make(chan struct{}, 100)
	m.set(func() {
		m.fail = func(e *bridge.Event) error {
			if e.ID != "new" {
				return nil
			}
			tried <- struct{}{}
			return &bridge.Failure{Class: bridge.Held, Reason: "the stream is full"}
		}
	})
	r.accept(delivery("new", "1"), bridge.Accepted)
	<-tried
	m.set(func() { m.fail, m.ids, m.bodies = nil, nil, nil; m.sessions[len(m.sessions)-1].Close() }) // power loss
	r.drained()
	ids := m.stored()
	if old, new := index(ids, "persat:old"), index(ids, "persat:new"); old < 0 || new < 0 || old > new {
		t.Errorf("the stream has %v, want old before new", ids)
	}
}
