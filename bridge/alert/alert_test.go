package alert

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inbox is a receiver that keeps what it gets.
type inbox struct {
	mu       sync.Mutex
	err      error
	stuck    chan struct{} // attempts wait for it, unless nil
	attempts int
	messages []Message
	at       []time.Time
}

func (i *inbox) Name() string { return "inbox" }

func (i *inbox) Send(m Message) error {
	i.mu.Lock()
	stuck := i.stuck
	i.attempts++
	i.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err != nil {
		return i.err
	}
	i.messages, i.at = append(i.messages, m), append(i.at, time.Now())
	return nil
}

// fail has attempts fail from now on, or succeed again.
func (i *inbox) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = err
}

// hang has attempts that begin from now on not return before the channel is closed.
func (i *inbox) hang() chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stuck = make(chan struct{})
	return i.stuck
}

// begun is how many attempts there were.
func (i *inbox) begun() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.attempts
}

// take returns what has come since the last call.
func (i *inbox) take() (texts []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, m := range i.messages {
		texts = append(texts, m.Text)
	}
	i.messages, i.at = nil, nil
	return texts
}

// watched is an Alerter with a state that the test changes.
type watched struct {
	mu      sync.Mutex
	state   State
	inbox   *inbox
	notices map[string]string
}

func (w *watched) set(change func(*State)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.state)
}

// well is a bridge of which there is nothing to tell.
func well() State {
	s := State{Status: bridge.Status{
		Accepting: true, NATS: bridge.Link{Up: true, Since: time.Now()}, JournalLimit: 100, JournalBytes: 10,
		Sources: []bridge.SourceStatus{{Name: "persat", LastEvent: &bridge.LastEvent{At: time.Now(), Type: "workorder.closed"}}},
	}}
	s.Counters = counters(0, 0, 0, 0)
	return s
}

func counters(unauthentic, taken, overloaded, healed float64) Counters {
	return Counters{
		Unauthentic: map[string]float64{"persat": unauthentic}, Taken: map[string]float64{"persat": taken}, Overloaded: overloaded, Healed: healed,
		AcceptDuration: map[float64]uint64{0.1: 0, 10: 0, math.Inf(1): 0},
	}
}

func watch(t *testing.T, o Options, f func(w *watched)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{inbox: &inbox{}, state: well(), notices: make(map[string]string)}
		o.Look = func() State {
			w.mu.Lock()
			defer w.mu.Unlock()
			s := w.state
			s.Sources = slices.Clone(s.Sources) // the next change is for the next look
			s.Time = time.Now()
			return s
		}
		o.Receivers = []Receiver{w.inbox}
		o.Notice = func(about, text string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.notices[about] = text
		}
		a, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { a.Run(ctx); close(ended) }()
		f(w)
		stop()
		<-ended
	})
}

// Each condition is told once when it begins and once when it ends, in both languages.
func TestBeginAndEnd(t *testing.T) {
	ago := func(d time.Duration) *time.Time { at := time.Now().Add(-d); return &at }
	hour := 3600.0
	for _, c := range []struct {
		code             string
		begin, end       func(*State)
		begins, ends, es string
	}{
		{"not_ready", func(s *State) { s.Accepting, s.Refusing = false, "bridge is stopping" }, func(s *State) { s.Accepting = true },
			"no events are taken: bridge is stopping", "events are taken again", "no se aceptan eventos: el puente se está deteniendo"},
		{"nats_away", func(s *State) {
			s.NATS, s.Pending = bridge.Link{Since: time.Now(), Reason: "connection refused"}, 7
		}, func(s *State) { s.NATS.Up = true },
			"7 events wait on disk, nothing is lost (connection refused)", "connected to NATS again", "7 eventos esperan en disco"},
		{"events_held", func(s *State) {
			s.Held = []bridge.HeldSubject{{Source: "persat", Type: "a", Since: time.Now(), Waiting: 3, Reason: "no stream answers: it is missing, or its cluster has no leader"}, {Source: "persat", Type: "b", Since: time.Now(), Waiting: 2}}
		}, func(s *State) { s.Held = nil },
			"NATS refuses 5 events of persat", "NATS takes the events of persat again", "ningún stream responde"},
		{"events_waiting", func(s *State) { s.Sources[0].Pending, s.Sources[0].OldestPending = 1, ago(10*time.Minute) }, func(s *State) { s.Sources[0].OldestPending = nil },
			"1 event of persat wait", "no event of persat has waited for long any more", "1 evento de persat"},
		{"journal_nearly_full", func(s *State) { s.JournalBytes = 96 }, func(s *State) { s.JournalBytes = 94 },
			"the journal is 96 % full", "the journal has room again", "al 96 %"},
		{"dead_letters", func(s *State) { s.Sources[0].Dead = 2 }, func(s *State) { s.Sources[0].Dead = 0 },
			"2 dead letters of persat to decide on", "no dead letters of persat any more", "2 eventos no publicados de persat"},
		{"only_refusals", func(s *State) { s.Counters = counters(10, 0, 0, 0) }, func(s *State) { s.Counters = counters(12, 1, 0, 0) },
			"every request for persat is refused, 10 in a quarter of an hour", "requests for persat are not all refused any more", "se rechazan todos los pedidos para persat"},
		{"pull_failing", func(s *State) { s.Pulls = []FailingPull{{Source: "persat", Since: time.Now(), Reason: "401"}} }, func(s *State) { s.Pulls = nil },
			"source persat cannot be pulled since", "source persat is pulled again", "no se puede traer"},
		{"accept_slow", func(s *State) {
			s.Counters.AcceptDuration = map[float64]uint64{0.1: 5, 10: 100, math.Inf(1): 100}
		}, func(s *State) {
			s.Counters.AcceptDuration = map[float64]uint64{0.1: 5, 10: 100, math.Inf(1): 100}
		},
			"it takes over 10 s to accept an event", "events are accepted quickly again", "más de 10 s"},
		{"overloaded", func(s *State) { s.Counters = counters(0, 0, 4, 0) }, func(*State) {},
			"4 requests were refused in five minutes", "requests are not too many any more", "se rechazaron 4 pedidos"},
		{"certificate", func(s *State) { s.CertificateExpires = time.Now().Add(3 * 24 * time.Hour) }, func(s *State) { s.CertificateExpires = time.Now().Add(90 * 24 * time.Hour) },
			"the certificate of server.tls expires at", "the certificate of server.tls has been renewed", "vence el"},
		{"consumer_behind", func(s *State) { s.Stream = consumed(5, 2) }, func(s *State) { s.Stream = consumed(0, 3) },
			"consumer billing is 7 messages behind", "consumer billing catches up", "al consumidor billing le faltan 7 mensajes"},
		{"stream_filling", func(s *State) {
			s.Stream = &bridge.StreamInfo{Discard: "new", MaxBytes: 1000, Bytes: 800, GrowthPerDay: 100}
		}, func(s *State) { s.Stream.MaxBytes = 2000 },
			"at the present rate the stream reaches its max_bytes at", "the stream does not fill up any more", "llega a su max_bytes"},
		{"stream_lost_events", func(s *State) { s.Counters = counters(0, 0, 0, 12) }, func(*State) {},
			"the stream had lost 12 events", "the stream has lost nothing more for an hour", "había perdido 12 eventos"},
		{"journal_filling", func(s *State) {
			s.JournalRoom, s.Sources[0].OldestPending = &hour, ago(0)
		}, func(s *State) { s.JournalRoom, s.Sources[0].OldestPending = nil, nil },
			"at the present rate the journal is full at", "the journal does not fill up any more", "el almacenamiento se llena"},
		{"no_events", func(*State) {}, func(s *State) {
			s.Sources = []bridge.SourceStatus{{Name: "persat", LastEvent: &bridge.LastEvent{At: time.Now().Add(25 * time.Hour)}}}
		},
			"no event of persat since", "events of persat arrive again", "ningún evento de persat"},
	} {
		for _, language := range []string{"en", "es"} {
			t.Run(c.code+" "+language, func(t *testing.T) {
				watch(t, Options{Language: language, Bridge: "host", Link: "https://bridge.example.com/"}, func(w *watched) {
					// What the state has of the past moves with the bubble's time.
					w.set(func(s *State) { s.Sources = []bridge.SourceStatus{s.Sources[0]} })
					time.Sleep(time.Minute)
					w.set(c.begin)
					w.set(func(s *State) {
						if s.Sources[0].OldestPending != nil {
							s.Sources[0].OldestPending = ago(10 * time.Minute)
						}
					})
					wait := 3 * time.Minute
					switch c.code {
					case "no_events":
						wait = 25 * time.Hour
					case "consumer_behind":
						wait += behindOver
					}
					time.Sleep(wait)
					synctest.Wait()
					got := ofCode(w.inbox.take(), c.begins, c.es)
					if len(got) != 1 {
						t.Fatalf("at its begin: got %q, want one message", got)
					}
					want := map[string]string{"en": c.begins, "es": c.es}[language]
					if !strings.Contains(got[0], want) || !strings.HasPrefix(got[0], "persat-bridge host: ") || !strings.HasSuffix(got[0], " https://bridge.example.com/") {
						t.Errorf("at its begin: got %q, want %q in it", got[0], want)
					}
					w.set(c.end)
					time.Sleep(2 * time.Hour)
					synctest.Wait()
					ended := 0
					for _, text := range w.inbox.take() {
						if language == "en" && strings.Contains(text, "over: "+c.ends) || language == "es" && strings.Contains(text, "terminó: "+filled(texts[c.code]["es"].ended, c.code)) {
							ended++
						} else if language == "en" && strings.Contains(text, c.begins) {
							t.Errorf("told again: %q", text)
						}
					}
					if ended != 1 {
						t.Errorf("at its end: got %d messages that it is over, want one", ended)
					}
				})
			})
		}
	}
}

// filled is a text with the source that the state of a condition has.
func filled(text, code string) string {
	source := "persat"
	if code == "consumer_behind" {
		source = "billing"
	}
	return strings.ReplaceAll(text, "{source}", source)
}

// consumed is a stream with a durable consumer and one that has a new name at each start.
func consumed(pending uint64, unacknowledged int) *bridge.StreamInfo {
	return &bridge.StreamInfo{ConsumerList: []bridge.ConsumerInfo{
		{Name: "billing", Durable: true, Pending: pending, AckPending: unacknowledged},
		{Name: "W3jqzQ", Pending: 100},
	}}
}

// A consumer is told of when it has had something to do all the time, and not less of it.
func TestConsumerBehind(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   func(minute int) *bridge.StreamInfo
		want int
	}{
		{"it grows", func(m int) *bridge.StreamInfo { return consumed(uint64(m), 1) }, 1},
		{"it shrinks", func(m int) *bridge.StreamInfo { return consumed(uint64(1000-m), 1) }, 0},
		{"it has nothing to do now and then", func(m int) *bridge.StreamInfo {
			if m%20 == 7 {
				return consumed(0, 0)
			}
			return consumed(50, 0)
		}, 0},
		{"NATS is away now and then", func(m int) *bridge.StreamInfo {
			if m%20 == 7 {
				return nil
			}
			return consumed(50, 0)
		}, 1},
		{"it is behind, then NATS is away for long", func(m int) *bridge.StreamInfo {
			if m > 55 && m < 115 {
				return nil
			}
			return consumed(50, 0)
		}, 1},
		{"it is behind, then the consumers cannot be listed", func(m int) *bridge.StreamInfo {
			if m > 55 {
				return &bridge.StreamInfo{ConsumersError: "context deadline exceeded"}
			}
			return consumed(50, 0)
		}, 1},
		{"it is behind, and NATS is away and back at other numbers", func(m int) *bridge.StreamInfo {
			if m < 55 {
				return consumed(50, 0)
			}
			if m < 115 {
				return nil
			}
			return consumed(0, 0)
		}, 2},
		{"it appears late", func(m int) *bridge.StreamInfo {
			if m < 80 {
				return &bridge.StreamInfo{}
			}
			return consumed(50, 0)
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			watch(t, Options{}, func(w *watched) {
				w.set(func(s *State) { s.Sources = nil })
				for m := range 120 {
					w.set(func(s *State) { s.Stream = tt.at(m) })
					time.Sleep(time.Minute)
				}
				synctest.Wait()
				if got := w.inbox.take(); len(got) != tt.want {
					t.Errorf("in two hours: got %q, want %d messages", got, tt.want)
				}
			})
		})
	}
}

func TestStreamFull(t *testing.T) {
	now := time.Now()
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name   string
		stream *bridge.StreamInfo
		want   time.Duration // -1: never
	}{
		{"not seen", nil, -1},
		{"no limit", &bridge.StreamInfo{Discard: "new", Bytes: 800, GrowthPerDay: 100}, -1},
		{"the oldest give way", &bridge.StreamInfo{Discard: "old", MaxBytes: 1000, Bytes: 800, GrowthPerDay: 100}, -1},
		{"it does not grow", &bridge.StreamInfo{Discard: "new", MaxBytes: 1000, Bytes: 800}, -1},
		{"it grows", &bridge.StreamInfo{Discard: "new", MaxBytes: 1000, Bytes: 800, GrowthPerDay: 100}, 2 * day},
		{"it is full", &bridge.StreamInfo{Discard: "new", MaxBytes: 1000, Bytes: 1001, GrowthPerDay: 100}, 0},
		{"it forgets in time", &bridge.StreamInfo{Discard: "new", MaxBytes: 1000, Bytes: 800, GrowthPerDay: 100, MaxAge: 8 * day}, -1},
		{"it forgets too late", &bridge.StreamInfo{Discard: "new", MaxBytes: 1000, Bytes: 800, GrowthPerDay: 100, MaxAge: 30 * day}, 2 * day},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at, ok := streamFull(tt.stream, now)
			if got := at.Sub(now).Round(time.Second); ok != (tt.want >= 0) || ok && got != tt.want {
				t.Errorf("got %v %v, want %v", got, ok, tt.want)
			}
		})
	}
}

// ofCode leaves out what other conditions, which belong to the same state, have told.
func ofCode(texts []string, en, es string) (of []string) {
	for _, text := range texts {
		if strings.Contains(text, en) || strings.Contains(text, es) {
			of = append(of, text)
		}
	}
	return of
}

func TestEveryConditionHasWords(t *testing.T) {
	for _, c := range conditions {
		for _, language := range []string{"en", "es"} {
			if w := texts[c.code][language]; w.begins == "" || w.todo == "" || w.ended == "" {
				t.Errorf("%s has not all words in %s", c.code, language)
			}
		}
	}
	if len(texts) != len(conditions) {
		t.Errorf("there are words for %d conditions, and %d conditions", len(texts), len(conditions))
	}
}

// What comes and goes is not told, and what goes and comes is not over.
func TestFlapping(t *testing.T) {
	away := func(s *State) { s.NATS.Up = false }
	back := func(s *State) { s.NATS.Up = true }
	watch(t, Options{}, func(w *watched) {
		for range 20 {
			w.set(away)
			time.Sleep(time.Minute)
			w.set(back)
			time.Sleep(time.Minute)
		}
		if got := w.inbox.take(); len(got) != 0 {
			t.Errorf("outages of a minute: got %q, want no message", got)
		}
		w.set(away)
		time.Sleep(5 * time.Minute)
		for range 20 {
			w.set(back)
			time.Sleep(time.Minute)
			w.set(away)
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		if got := w.inbox.take(); len(got) != 1 {
			t.Errorf("one outage with breaks: got %q, want one message", got)
		}
	})
}

func TestRepeat(t *testing.T) {
	watch(t, Options{}, func(w *watched) {
		w.set(func(s *State) { s.Sources[0].Dead = 1; s.Sources[0].LastEvent = nil })
		time.Sleep(73 * time.Hour)
		synctest.Wait()
		got := w.inbox.take()
		if len(got) != 4 || !strings.Contains(got[0], ": 1 dead letter of") {
			t.Fatalf("in three days: got %q, want one message and three repeats", got)
		}
		for _, text := range got[1:] {
			if !strings.Contains(text, "still: 1 dead letter of persat") {
				t.Errorf("a repeat says %q", text)
			}
		}
	})
}

// A receiver that is away for an hour gets all, in order, and nothing else waits for it.
func TestReceiverAway(t *testing.T) {
	watch(t, Options{}, func(w *watched) {
		w.inbox.fail(errors.New("connection refused"))
		w.set(func(s *State) { s.NATS.Up = false })
		time.Sleep(10 * time.Minute)
		w.set(func(s *State) { s.NATS.Up = true })
		time.Sleep(50 * time.Minute)
		synctest.Wait()
		if got := w.notices["alerts inbox"]; !strings.Contains(got, "connection refused") {
			t.Errorf("the page says %q, want that alerts are not delivered", got)
		}
		w.inbox.fail(nil)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		got := w.inbox.take()
		if len(got) != 2 || !strings.Contains(got[0], "no connection to NATS") || !strings.Contains(got[1], "over: connected to NATS again") {
			t.Errorf("got %q, want the begin and the end", got)
		}
		if got := w.notices["alerts inbox"]; got != "" {
			t.Errorf("the page still says %q", got)
		}
	})
}

// Attempts of a receiver that never return are given up after an hour, and the message
// arrives. Three such attempts had ended the delivery until the next restart.
func TestReceiverHangs(t *testing.T) {
	watch(t, Options{}, func(w *watched) {
		stuck := w.inbox.hang()
		w.set(func(s *State) { s.NATS.Up = false })
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if got := w.inbox.begun(); got != maxHanging {
			t.Errorf("in half an hour: got %d attempts, want %d", got, maxHanging)
		}
		w.inbox.mu.Lock()
		w.inbox.stuck = nil // those that hang go on hanging
		w.inbox.mu.Unlock()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := w.inbox.take(); len(got) != 1 || !strings.Contains(got[0], "no connection to NATS") {
			t.Errorf("after an hour: got %q, want the message once", got)
		}
		close(stuck)
	})
}

// A receiver that never returns has a few attempts an hour, and no more.
func TestReceiverHangsForEver(t *testing.T) {
	watch(t, Options{}, func(w *watched) {
		stuck := w.inbox.hang()
		w.set(func(s *State) { s.NATS.Up = false })
		time.Sleep(10*time.Hour + 30*time.Minute)
		synctest.Wait()
		if got := w.inbox.begun(); got < 10 || got > 11*maxHanging {
			t.Errorf("in ten hours: got %d attempts, want %d an hour", got, maxHanging)
		}
		close(stuck)
	})
}

func TestQueueIsBounded(t *testing.T) {
	q := newQueue(&inbox{}, func(string, string) {}, func() {}, nopLog)
	for i := range maxQueued + 5 {
		q.add(Message{Text: fmt.Sprint(i)})
	}
	m, dropped, ok := q.take()
	if !ok || dropped != 5 || m.Text != "5" || len(q.messages) != maxQueued-1 {
		t.Errorf("got %v, %d dropped, %d left; want the newest %d", m, dropped, len(q.messages), maxQueued)
	}
}

var nopLog = zap.NewNop()
