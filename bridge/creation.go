package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// Creation decides whether the bridge creates a stream that the server does not find. A
// server that cannot read a stream for a while, for want of its encryption key or of room
// in its limits, answers like one that has none; and a create then makes it delete what it
// could not read. So a stream that the journal knows is created again only
//
//   - on an embedded server whose store was empty when it started,
//   - when the journal still has all that was ever in the stream, the stream was young when
//     it was first missed, and it has been absent for a while. A power loss takes a whole
//     stream in its first seconds only; an older one is more likely there and unreadable,
//     and a create deletes its consumers with it,
//   - or when an operator permits it.
//
// Until then its events are held. It is safe for concurrent use.
type Creation struct {
	journal *journal.Journal
	stream  string

	mu         sync.Mutex
	newStore   bool      // the embedded server's, and nothing has been stored there yet
	fill       bool      // what is created now is filled from the journal
	absent     time.Time // since when the server does not find the stream
	whole      answer    // has the journal all that was ever in the stream?
	permitted  bool      // an operator said so
	unreadable error     // the server failed to create it, perhaps over what it has on disk
	notice     string    // why it is not created, for an operator
}

// answer is to a question that may not have been asked yet.
type answer int

const (
	unchecked answer = iota
	yes
	no
)

// absentFor is how long a stream has to be absent before it is created from the journal
// alone: longer than a server takes to start once more with what it lacked.
const absentFor = 30 * time.Second

// youngFor is how old a stream may be, when it is first missed, for a power loss to explain
// it: a server syncs a new stream's metadata after about 30 seconds, and its host takes
// minutes to start again.
const youngFor = 10 * time.Minute

// ErrStreamPresent: there is nothing to permit, because the stream is not absent.
var ErrStreamPresent = errors.New("the stream is not known to be missing: there is nothing to recreate")

// NewCreation decides for a stream by the journal's evidence. newStore says that the stream
// is on an embedded server whose store was empty when it started.
func NewCreation(j *journal.Journal, stream string, newStore bool) *Creation {
	return &Creation{journal: j, stream: stream, newStore: newStore}
}

// Allowed returns nil when the stream, which the server does not find, may be created now,
// and else why not, for an operator to read.
func (c *Creation) Allowed(context.Context) error {
	identity, err := c.journal.Stream()
	if err != nil {
		return fmt.Errorf("read what the journal knows of the stream: %w", err)
	}
	since, known := strings.CutPrefix(identity, c.stream+" ")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.absent.IsZero() {
		c.absent = time.Now()
	}
	switch {
	case c.permitted:
		return nil
	case c.unreadable != nil:
		return c.hold("the server failed to create stream %s, perhaps over messages on its disk that it cannot read (%v): new events wait here. Look at the server's log. When there is nothing to save: persat-bridge stream recreate", c.stream, c.unreadable)
	case !known:
		return nil
	case c.newStore:
		c.fill = true
		return nil
	}
	over := time.Since(c.absent) >= absentFor
	created, err := time.Parse(time.RFC3339Nano, since)
	young := err == nil && c.absent.Sub(created) < youngFor
	// The journal may be large: it is gone through at the begin, and once more before
	// anything is created.
	if young && (c.whole == unchecked || c.whole == yes && over) {
		if err := c.check(); err != nil {
			return fmt.Errorf("read what the journal has of the stream: %w", err)
		}
	}
	switch {
	case !young: // held
	case c.whole == yes && over:
		c.fill = true
		return nil
	case c.whole == yes:
		return fmt.Errorf("the server does not find it, though events were published to it: waiting %s for it to come back", absentFor)
	}
	return c.hold("the server does not find stream %s, though events were published to it: new events wait here. Look whether the server can read its store (JetStream key, limits, disk), mend that and restart it. When the stream is gone for good: persat-bridge stream recreate", c.stream)
}

// check finds out whether the journal has the whole stream. It gives the lock back
// meanwhile: Status must not wait for it.
func (c *Creation) check() error {
	c.mu.Unlock()
	has, err := c.journal.HasWholeStream()
	c.mu.Lock()
	if err != nil {
		return err
	}
	if c.whole = no; has {
		c.whole = yes
	}
	return nil
}

// hold keeps the reason as a notice.
func (c *Creation) hold(format string, args ...any) error {
	c.notice = fmt.Sprintf(format, args...)
	return errors.New(c.notice)
}

// fills says, once, that the stream was created to be filled from the journal.
func (c *Creation) fills() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	fill := c.fill
	c.fill = false
	return fill
}

// Found notes that the stream is there.
func (c *Creation) Found() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.absent, c.notice = time.Time{}, ""
	c.newStore, c.whole, c.permitted, c.unreadable = false, unchecked, false, nil
}

// Unreadable notes that the server failed to create the stream, perhaps over what it has on
// disk under that name. Only an operator's word permits another attempt.
func (c *Creation) Unreadable(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.permitted, c.fill, c.unreadable = false, false, err
}

// Permit lets the absent stream be created, whatever the journal knows of it.
func (c *Creation) Permit() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.absent.IsZero() {
		return ErrStreamPresent
	}
	c.permitted = true
	return nil
}

// held is why the missing stream was not created; "" when it is not missing or need not wait
// for anybody.
func (c *Creation) held() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.notice
}

// RecreateStream permits the bridge to create the stream that the server does not find, at
// the cost of what the server may still have of it on disk. The next look creates it, some
// seconds later.
func (b *Bridge) RecreateStream(context.Context) error { return b.o.Creation.Permit() }
