package bridge_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// A page of events without a search is whole, however long that takes: a busy disk had
// it end after eleven. A search ends when its time is over.
func TestPageOfEventsIsWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &silent{memory: &memory{created: "1"}}
		b, stop := runInBubble(t, vfs.NewMem(), p)
		for n := range 60 {
			if _, err := b.Accept(t.Context(), delivery(fmt.Sprint("e", n), fmt.Sprint(n))); err != nil {
				t.Fatal(err)
			}
		}
		late, end := context.WithCancel(t.Context())
		end() // the time for a search is over
		list, err := b.Events(late, bridge.EventQuery{Limit: 25})
		if err != nil || len(list.Records) != 25 || list.More == 0 {
			t.Errorf("got %d events, more from %d, %v; want 25 and more", len(list.Records), list.More, err)
		}
		list, err = b.Events(late, bridge.EventQuery{Filter: bridge.Filter{Entity: "no such"}, Limit: 25})
		if err != nil || list.Looked > 27 || list.More == 0 {
			t.Errorf("a search looked at %d events, more from %d, %v; want it to end when its time is over", list.Looked, list.More, err)
		}
		p.answer()
		stop()
	})
}
