package publisher

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Each attempt ends once: answered, expired when its time is over, or with the close.
func TestPendingAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex // attempts end here and by the timer
		ended := make(map[*attempt]time.Duration)
		begin := time.Now()
		end := func(a *attempt) {
			mu.Lock()
			defer mu.Unlock()
			if _, again := ended[a]; again {
				t.Error("an attempt ended twice")
			}
			ended[a] = time.Since(begin)
		}
		p := newPendingAcks(5*time.Second, func(over []*attempt) {
			for _, a := range over {
				end(a)
			}
		})
		began := make(map[*attempt]time.Duration)
		answered := make(map[*attempt]bool)
		var tokens []uint64
		byToken := make(map[uint64]*attempt)
		for range 5000 {
			time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
			synctest.Wait() // what expires at this very time has expired
			a := new(attempt)
			token, ok := p.add(a)
			if !ok {
				t.Fatal("not taken")
			}
			if again, ok := tokenOf("_INBOX.x."+string(tokenText(nil, token)), len("_INBOX.x.")); !ok || again != token {
				t.Fatalf("token %d reads as %d", token, again)
			}
			began[a] = time.Since(begin)
			tokens, byToken[token] = append(tokens, token), a
			if random.IntN(3) > 0 { // answers come out of order
				i := random.IntN(len(tokens))
				if a := p.take(tokens[i]); a != nil {
					if a != byToken[tokens[i]] {
						t.Fatal("another attempt's token")
					}
					answered[a] = true
					end(a)
				}
				tokens = slices.Delete(tokens, i, i+1)
			}
		}
		for _, a := range p.close() {
			end(a)
		}
		for a, at := range began {
			took, ok := ended[a]
			if !ok {
				t.Fatal("an attempt never ended")
			}
			if took -= at; took > 5*time.Second+time.Millisecond || !answered[a] && took < 5*time.Second && ended[a] < time.Since(begin) {
				t.Errorf("an attempt that began at %v ended after %v", at, took)
			}
		}
		if len(p.queue) > 0 || p.byToken != nil {
			t.Error("something is left")
		}
		if _, ok := p.add(new(attempt)); ok {
			t.Error("taken after the close")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}
