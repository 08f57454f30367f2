package alert

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Memory keeps what an Alerter knows over a restart.
type Memory interface {
	// Alerts is what NoteAlerts noted last; empty when nothing was.
	Alerts() (string, error)
	// NoteAlerts notes a text, which is on disk when it returns.
	NoteAlerts(text string) error
}

// remembered is what is noted: the conditions that were told and have not ended, and for
// each receiver the messages that it has not taken. A message is noted until it was
// delivered, so a kill in between doubles a message and loses none.
type remembered struct {
	Told    []toldEpisode        `json:"told,omitempty"`
	Waiting map[string][]Message `json:"waiting,omitempty"`
}

type toldEpisode struct {
	Code   string    `json:"code"`
	Source string    `json:"source,omitempty"`
	Since  time.Time `json:"since"`
	Told   time.Time `json:"told"`
}

// lastWrite is how long the last note is waited for at the end: a disk that does not answer
// holds up nobody.
const lastWrite = 5 * time.Second

// notebook writes down what is known, beside the watching and the delivery: neither waits
// for the disk.
type notebook struct {
	memory Memory
	log    *zap.Logger
	queues []*queue
	wake   chan struct{}

	mu   sync.Mutex
	told []toldEpisode

	// Of write alone.
	noted  string
	failed bool
}

func newNotebook(m Memory, log *zap.Logger) *notebook {
	return &notebook{memory: m, log: log, wake: make(chan struct{}, 1)}
}

// recall reads what was noted. What cannot be read is as if nothing was told.
func (n *notebook) recall() (r remembered) {
	if n.memory == nil {
		return r
	}
	text, err := n.memory.Alerts()
	if err == nil && text != "" {
		err = json.Unmarshal([]byte(text), &r)
	}
	if err != nil {
		n.log.Warn("the alerts that were sent before the restart cannot be read: those that last are sent again", zap.Error(err))
		return remembered{}
	}
	n.noted = text
	return r
}

// note takes the conditions that were told and have not ended.
func (n *notebook) note(told []toldEpisode) {
	n.mu.Lock()
	n.told = told
	n.mu.Unlock()
	n.changed()
}

// changed says that there is something to write. It never waits.
func (n *notebook) changed() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// run writes until ctx ends, and once more after delivered is closed.
func (n *notebook) run(ctx context.Context, delivered <-chan struct{}) {
	if n.memory == nil {
		return
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		for {
			select {
			case <-n.wake:
				n.write()
			case <-delivered:
				n.write()
				return
			}
		}
	}()
	<-ctx.Done()
	timeout := time.NewTimer(lastWrite)
	defer timeout.Stop()
	select {
	case <-written:
	case <-timeout.C:
		n.log.Warn("the alerts that were sent could not be noted before the end: those that last may be sent again")
	}
}

// write notes what has changed.
func (n *notebook) write() {
	r := remembered{Waiting: make(map[string][]Message)}
	n.mu.Lock()
	r.Told = n.told
	n.mu.Unlock()
	for _, q := range n.queues {
		if waiting := q.waiting(); len(waiting) > 0 {
			r.Waiting[q.receiver.Name()] = waiting
		}
	}
	text, err := json.Marshal(r)
	if err != nil || string(text) == n.noted {
		return
	}
	err = n.memory.NoteAlerts(string(text))
	switch {
	case err == nil:
		n.noted = string(text)
	case !n.failed:
		n.log.Warn("the alerts that were sent cannot be noted: after a restart those that last are sent again", zap.Error(err))
	}
	n.failed = err != nil
}
