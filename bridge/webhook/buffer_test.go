package webhook

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Accept reads the body after an error: the write that the answer did not wait for is
// still under way. The buffer of a refused delivery must not go to the next request.
func TestBodyOfATimedOutDeliveryIsNotUsedAgain(t *testing.T) {
	f := newFixture(t, Options{})
	first := strings.Replace(event, "C-19349", "C-FIRST", 1)
	second := strings.Replace(event, "C-19349", "C-OTHER", 1)
	var held [][]byte
	f.acceptor.accept = func(_ context.Context, d bridge.Delivery) (bridge.Outcome, error) {
		if d.ID == "first" {
			held = append(held, d.Body) // as the journal's queue does
			return 0, context.DeadlineExceeded
		}
		return 0, nil
	}
	changed := 0
	for range 50 { // a pool may drop what it gets
		f.Handler().ServeHTTP(httptest.NewRecorder(), signed(t, secretA, "first", time.Now(), first))
		f.Handler().ServeHTTP(httptest.NewRecorder(), signed(t, secretA, "second", time.Now(), second))
	}
	for _, b := range held {
		if string(b) != first {
			changed++
		}
	}
	if changed > 0 {
		t.Errorf("%d of %d bodies that are still being written have the bytes of another request: %s", changed, len(held), held[0])
	}
}
