package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

type awayForever struct{}

func (awayForever) Connect(context.Context) (bridge.Session, error) {
	return nil, errors.New("no NATS")
}

// BenchmarkEvents lists events of a journal that has a million of them: the newest, those
// that a filter finds seldom, and those that it never finds.
func BenchmarkEvents(b *testing.B) {
	const all = 1_000_000
	j, err := journal.Open(journal.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	br, err := bridge.New(bridge.Options{Journal: j, Publisher: awayForever{}, Sources: []string{"persat"}})
	if err != nil {
		b.Fatal(err)
	}
	batch := make([]bridge.Delivery, 0, 1000)
	for i := range all {
		entity := fmt.Sprint(i)
		batch = append(batch, bridge.Delivery{Source: "persat", ID: "msg_" + entity, Type: "workorder.updated", Entities: []string{entity}, Body: []byte(`{"eventType":"workorder.updated","payload":{}}`)})
		if len(batch) == cap(batch) {
			if _, err := br.AcceptAll(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	for _, c := range []struct {
		name  string
		query bridge.EventQuery
	}{
		{"newest", bridge.EventQuery{Limit: 25}},
		{"seldom", bridge.EventQuery{Filter: bridge.Filter{Any: "99999"}, Limit: 25}},
		{"never", bridge.EventQuery{Filter: bridge.Filter{Entity: "no such"}, Limit: 25}},
		{"old", bridge.EventQuery{Before: 1000, Limit: 25}},
	} {
		b.Run(c.name, func(b *testing.B) {
			looked := 0
			for range b.N {
				list, err := br.Events(b.Context(), c.query)
				if err != nil {
					b.Fatal(err)
				}
				looked += list.Looked
			}
			b.ReportMetric(float64(looked)/float64(b.N), "looked/op")
		})
	}
}
