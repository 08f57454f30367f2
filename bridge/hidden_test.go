package bridge_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// The acknowledgement of the last event is lost (the server that has the stream is in trouble); its repeat is
// acknowledged as a duplicate at its sequence. Then that server loses power, behind a connection that stays up,
// and with it this last event. The next event gets its sequence.
func TestRollbackOfADuplicate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1"}
		var lose atomic.Int32
		r := memoryRig(t, m, func(o *bridge.Options) { o.Publisher = lostAck{m, &lose} })
		r.acceptSeries("a", 5, "1")
		r.drained()
		lose.Store(1)
		r.accept(delivery("last", "1"), bridge.Accepted) // stored at 6; the acknowledgement of the repeat says so
		r.drained()
		time.Sleep(quickestRestart)
		m.rollBack(5) // power loss: 6 is gone
		r.acceptSeries("b", 5, "1")
		r.drained()
		for range 3 { // no later look finds it
			m.cut()
			time.Sleep(100 * time.Millisecond)
		}
		r.stop()
		r.open(true, func(o *bridge.Options) { o.Publisher = m })
		time.Sleep(200 * time.Millisecond)
		r.drained()
		if ids := m.stored(); len(ids) != 11 {
			s := r.bridge.Status(t.Context())
			t.Errorf("the stream has %d of 11 events: %v; pending %d, gone %d, notices %q", len(ids), ids, s.Pending, s.Gone, s.Notices)
		}
	})
}

// The same after a kill -9: the bridge learns the sequences of what was in flight from duplicates.
func TestRollbackAfterAKill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1"}
		r := memoryRig(t, m)
		r.drained()
		r.stop()
		m.set(func() { // they were stored, and the process was killed before it had noted the acknowledgements
			for i := range 5 {
				m.ids, m.bodies = append(m.ids, fmt.Sprintf("persat:a%d", i)), append(m.bodies, "x")
			}
		})
		r.open(false, func(o *bridge.Options) { o.Publisher = m })
		r.acceptSeries("a", 5, "1")
		r.stop()
		r.open(true, func(o *bridge.Options) { o.Publisher = m })
		r.drained() // five duplicates
		time.Sleep(quickestRestart)
		m.rollBack(2)
		r.acceptSeries("b", 5, "1")
		r.drained()
		m.cut()
		time.Sleep(300 * time.Millisecond)
		r.drained()
		if ids := m.stored(); len(ids) != 10 {
			t.Errorf("the stream has %d of 10 events: %v", len(ids), ids)
		}
	})
}

// As TestRollbackFilledByAnotherPublisher, but what was published last is a replay: its sequence is in no record,
// so that the look at it finds all well.
func TestRollbackBehindAReplayFilledByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1"}
		r := memoryRig(t, m)
		r.acceptSeries("a", 10, "1")
		r.drained()
		r.replayed(bridge.Filter{IDs: []string{"a0"}})
		time.Sleep(quickestRestart)
		m.rollBackAndFill(5, 10)
		for i := range 300 { // a day goes on
			r.accept(delivery(fmt.Sprint("b", i), fmt.Sprint(i)), bridge.Accepted)
		}
		r.drained()
		time.Sleep(2500 * time.Millisecond)
		r.accept(delivery("c", "1"), bridge.Accepted)
		r.drained()
		for range 3 { // later sessions do not find it either
			m.cut()
			time.Sleep(200 * time.Millisecond)
		}
		r.drained()
		r.stop()
		r.open(true, func(o *bridge.Options) { o.Publisher = m })
		time.Sleep(300 * time.Millisecond)
		r.drained()
		r.nothingLost(m, "a", 10)
	})
}

// Another bridge that has accepted some of the same deliveries heals first: one of its events comes to lie where it was.
func TestRollbackThatAnotherBridgeHealsFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1"}
		r := memoryRig(t, m)
		r.acceptSeries("a", 10, "1")
		r.drained()
		time.Sleep(quickestRestart)
		m.set(func() {
			m.ids, m.bodies = m.ids[:5:5], m.bodies[:5:5]               // 6 to 10 are lost
			for _, id := range []string{"b1", "b2", "b3", "b4", "a9"} { // the other one has had b1 to b4 and a9
				m.ids, m.bodies = append(m.ids, "persat:"+id), append(m.bodies, "x")
				m.times = append(m.times[:len(m.ids)-1:len(m.ids)-1], time.Now())
			}
			// behind a connection that stays up
		})
		r.acceptSeries("c", 300, "")
		r.drained()
		for range 3 {
			m.cut()
			time.Sleep(200 * time.Millisecond)
		}
		r.drained()
		r.nothingLost(m, "a", 10)
	})
}

// looker delays asks for single sequences.
type looker struct {
	*memory
	mu   sync.Mutex
	hang func(seq uint64) chan struct{}
}

func (l *looker) Connect(ctx context.Context) (bridge.Session, error) {
	in, err := l.memory.Connect(ctx)
	return lookerSession{in, l}, err
}

type lookerSession struct {
	bridge.Session
	l *looker
}

func (s lookerSession) Message(ctx context.Context, seq uint64) (bridge.Message, error) {
	s.l.mu.Lock()
	hang := s.l.hang
	s.l.mu.Unlock()
	if hang != nil {
		if c := hang(seq); c != nil {
			select {
			case <-c:
				return bridge.Message{}, context.DeadlineExceeded
			case <-ctx.Done():
				return bridge.Message{}, ctx.Err()
			}
		}
	}
	return s.Session.Message(ctx, seq)
}

// The first look of a session finds one sequence and gets no answer about another: the server that has the stream
// goes away in that moment. It loses power, and another publisher fills the sequences before the look is repeated.
// What the first look had found is not looked at again.
func TestRollbackBetweenTwoPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &looker{memory: &memory{created: "1"}}
		m := l.memory
		r := memoryRig(t, m, func(o *bridge.Options) { o.Publisher = l; o.MaxInFlight = 4 })
		r.acceptSeries("a", 10, "1")
		r.drained()
		gone, asked := make(chan struct{}), make(chan struct{}, 100)
		l.mu.Lock()
		l.hang = func(seq uint64) chan struct{} {
			if seq == 6 {
				asked <- struct{}{}
				return gone
			}
			return nil
		}
		l.mu.Unlock()
		m.cut()
		<-asked
		time.Sleep(100 * time.Millisecond) // 7 to 10 have been found
		m.rollBackAndFill(6, 6)            // 7 to 10 are lost
		l.mu.Lock()
		l.hang = nil
		l.mu.Unlock()
		close(gone)
		r.acceptSeries("b", 10, "1")
		r.drained()
		for range 3 {
			m.cut()
			time.Sleep(100 * time.Millisecond)
		}
		r.drained()
		r.nothingLost(m, "a", 10)
	})
}
