package alert

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// paper is a Memory that outlives the Alerters of a test.
type paper struct {
	mu   sync.Mutex
	text string
	err  error
}

func (p *paper) Alerts() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text, nil
}

func (p *paper) NoteAlerts(text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.text = text
	}
	return p.err
}

// lives runs Alerters one after the other over one memory, state and inbox.
type lives struct {
	t *testing.T
	*watched
	paper *paper
	stop  func()
}

func (l *lives) start() {
	a, err := New(Options{Receivers: []Receiver{l.inbox}, Memory: l.paper, Look: func() State {
		l.mu.Lock()
		defer l.mu.Unlock()
		s := l.state
		s.Sources = slices.Clone(s.Sources)
		s.Time = time.Now()
		return s
	}})
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(l.t.Context())
	ended := make(chan struct{})
	go func() { a.Run(ctx); close(ended) }()
	l.stop = func() { stop(); <-ended }
}

// kill ends the Alerter as a kill does: what it notes at its end is not on the disk.
func (l *lives) kill() {
	synctest.Wait()
	before, _ := l.paper.Alerts()
	l.stop()
	l.paper.text = before
}

func (l *lives) expect(when string, want ...string) {
	l.t.Helper()
	synctest.Wait()
	got := l.inbox.take()
	if len(got) != len(want) {
		l.t.Errorf("%s: got %q, want %d messages", when, got, len(want))
		return
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			l.t.Errorf("%s: got %q, want %q in it", when, got[i], want[i])
		}
	}
}

func live(t *testing.T, f func(l *lives)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lives{t: t, watched: &watched{inbox: &inbox{}, state: well()}, paper: &paper{}}
		l.set(func(s *State) { s.Sources[0].LastEvent = nil }) // silence is another test's
		l.start()
		f(l)
		l.stop()
	})
}

// Each end of the process, and what is told after it.
func TestRestart(t *testing.T) {
	for _, end := range []struct {
		name string
		end  func(*lives)
	}{{"stop", func(l *lives) { l.stop() }}, {"kill", (*lives).kill}} {
		t.Run(end.name, func(t *testing.T) {
			live(t, func(l *lives) {
				again := func() { end.end(l); l.start() }
				l.set(func(s *State) { s.Sources[0].Dead = 2 })
				time.Sleep(time.Minute)
				again()
				time.Sleep(90 * time.Second)
				l.expect("after a restart in its first minute")
				time.Sleep(time.Minute)
				l.expect("after the restart", "2 dead letters")
				for range 5 {
					again()
					time.Sleep(10 * time.Minute)
				}
				l.expect("while it lasts, over restarts")
				time.Sleep(24 * time.Hour)
				l.expect("a day later", "still: 2 dead letters")
				again()
				time.Sleep(22 * time.Hour)
				l.expect("before the next day, after a restart")
				time.Sleep(2 * time.Hour)
				l.expect("the next day", "still: 2 dead letters")

				end.end(l)
				l.set(func(s *State) { s.Sources[0].Dead = 0 })
				time.Sleep(time.Hour)
				l.start()
				time.Sleep(time.Hour)
				l.expect("what ended while the process was away", "over: no dead letters of persat any more")
				again()
				time.Sleep(time.Hour)
				l.expect("after its end")
			})
		})
	}
}

// What was not delivered before the end of the process is delivered after the next start.
func TestUndeliveredOverARestart(t *testing.T) {
	live(t, func(l *lives) {
		l.inbox.fail(errors.New("connection refused"))
		l.set(func(s *State) { s.NATS.Up = false })
		time.Sleep(10 * time.Minute)
		l.set(func(s *State) { s.NATS.Up = true })
		time.Sleep(10 * time.Minute)
		l.kill()
		l.start()
		time.Sleep(10 * time.Minute)
		l.stop()
		l.inbox.fail(nil)
		l.start()
		time.Sleep(10 * time.Minute)
		l.expect("after two restarts", "no connection to NATS", "over: connected to NATS again")
		l.kill()
		l.start()
		time.Sleep(time.Hour)
		l.expect("once delivered")
	})
}

// Counters begin at 0 with the process: what was read from them is not over because of that.
func TestCountersOverARestart(t *testing.T) {
	live(t, func(l *lives) {
		l.set(func(s *State) { s.Counters = counters(0, 0, 0, 12) })
		time.Sleep(10 * time.Minute)
		l.expect("before any loss")
		l.set(func(s *State) { s.Counters = counters(0, 0, 0, 15) })
		time.Sleep(10 * time.Minute)
		l.expect("its begin", "the stream had lost 3 events")
		l.stop()
		l.set(func(s *State) { s.Counters = counters(0, 0, 0, 0) })
		l.start()
		time.Sleep(55 * time.Minute)
		l.expect("within the hour after the restart")
		time.Sleep(10 * time.Minute)
		l.expect("after it", "over: the stream has lost nothing more for an hour")
	})
}

// Silence that was told goes on after a restart, though a sender has an hour to come back.
func TestSilenceOverARestart(t *testing.T) {
	live(t, func(l *lives) {
		l.set(func(s *State) { s.Sources[0].LastEvent = well().Sources[0].LastEvent })
		time.Sleep(25 * time.Hour)
		l.expect("its begin", "no event of persat since")
		l.stop()
		l.start()
		time.Sleep(20 * time.Minute)
		l.expect("after the restart")
		l.set(func(s *State) { s.Sources[0].LastEvent = well().Sources[0].LastEvent })
		time.Sleep(5 * time.Minute)
		l.expect("its end", "over: events of persat arrive again")
	})
}

// A memory that fails, or has something else in it, ends no alert.
func TestMemoryFails(t *testing.T) {
	live(t, func(l *lives) {
		l.stop()
		l.paper.text = "{odd"
		l.start()
		l.paper.mu.Lock()
		l.paper.err = errors.New("disk failed")
		l.paper.mu.Unlock()
		l.set(func(s *State) { s.Sources[0].Dead = 1 })
		time.Sleep(10 * time.Minute)
		l.expect("its begin", "1 dead letter")
		l.set(func(s *State) { s.Sources[0].Dead = 0 })
		time.Sleep(10 * time.Minute)
		l.expect("its end", "over: no dead letters")
	})
}
