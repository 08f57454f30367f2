package pull

import (
	"encoding/json"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Whatever an endpoint answers, a page that is taken has a delivery for each of its items,
// with an id and all its bytes, and the next fetch asks for what is behind it.
func FuzzPage(f *testing.F) {
	f.Add([]byte(`{"data":[{"id":"msg_1","eventType":"workorder.closed","payload":{"_id":"48"},"timestamp":"2026-02-12T00:00:00Z"}],"iterator":"a","done":false}`))
	f.Add([]byte(`{"data":[7,null,{},{"id":1},{"id":"a b"}],"iterator":"","done":true}`))
	f.Add([]byte(`{"data":[{"id":"x","eventType":"a","payload":"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parsePage(body)
		if err != nil {
			return
		}
		before := position{Iterator: "before"}
		got := p.fetched("persat", before)
		if len(got.deliveries) != len(p.Data) {
			t.Fatalf("got %d deliveries of %d items", len(got.deliveries), len(p.Data))
		}
		if !p.Done && got.behind.Iterator != p.Iterator {
			t.Errorf("got position %q, want %q", got.behind.Iterator, p.Iterator)
		}
		for i, d := range got.deliveries {
			if !bridge.WellFormedID(d.ID) || !d.Pulled || d.Source != "persat" || len(d.Body) == 0 {
				t.Errorf("item %s: got %+v", p.Data[i], d)
			}
			if d.Unusable == "" && (d.Type == "" || !json.Valid(d.Body)) {
				t.Errorf("item %s: got body %s of type %q", p.Data[i], d.Body, d.Type)
			}
		}
		again, err := parsePosition(got.behind.text())
		if err != nil || again != got.behind {
			t.Errorf("position %+v reads as %+v, %v", got.behind, again, err)
		}
	})
}
