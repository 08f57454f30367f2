package bridge

import (
	"errors"
	"strconv"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// Delivery is what a webhook or a puller hands to Accept: one authentic request, or one
// item of a polling endpoint.
type Delivery struct {
	// Source is the configured name of the sender, as in /webhooks/{source}.
	Source string
	// ID is the delivery id: the sender's when it sent one, else a fresh one
	// and Anonymous is set.
	ID string
	// Anonymous says that the sender gave no id, so that a repeat of this
	// delivery cannot be known for one.
	Anonymous bool
	// Type is the event type. It becomes part of a subject, so it must have
	// passed the webhook's check; empty only when Unusable is set.
	Type string
	// Kind is the kind of thing that Entities name; empty for the first word of Type.
	Kind string
	// Entities are the ids of the things the event is about, for order.
	Entities []string
	// Pulled says that the body was fetched from a polling endpoint, whose bytes
	// differ from those of a webhook: the id alone tells whether it is a repeat.
	Pulled bool
	// Body is the request body, byte for byte. Accept does not keep it.
	Body []byte
	// Unusable, when not empty, says why this body cannot be published. It is
	// kept as a dead letter with these words as its reason.
	Unusable string
	// Traceparent is the W3C trace context of the request, or empty.
	Traceparent string
	// From is the sender's address where it is known, for people.
	From string
}

// Outcome says what became of a Delivery that Accept took.
type Outcome int

const (
	// Accepted: new, and on disk.
	Accepted Outcome = iota + 1
	// Duplicate: this delivery id was accepted before; nothing was written.
	Duplicate
	// Quarantined: on disk as a dead letter, because the body is unusable or
	// its id was used before for other bytes that can be published.
	Quarantined
)

func (o Outcome) String() string {
	switch o {
	case Accepted:
		return "accepted"
	case Duplicate:
		return "duplicate"
	case Quarantined:
		return "quarantined"
	}
	return "unknown"
}

// Accept's errors wrap one of these, the cause of the context's end, or an error of the
// journal. After any of them the sender has to come back. Only after ErrNotAcknowledged is
// the event surely on disk.
var (
	// ErrFull: the journal is at its limit, or its disk nearly full.
	ErrFull = errors.New("journal is full")
	// ErrStalled: the disk does not answer. It may yet.
	ErrStalled = errors.New("journal is stalled")
	// ErrStopping: the bridge is shutting down.
	ErrStopping = errors.New("bridge is stopping")
	// ErrFailed: the journal could not write or sync. The process has to end.
	ErrFailed = journal.ErrFailed
	// ErrNotAcknowledged: the event is on disk, but JetStream has not
	// acknowledged it in time, and the configuration asks for that.
	ErrNotAcknowledged = errors.New("not yet acknowledged by JetStream")
)

// Event is an accepted delivery on its way to JetStream.
type Event struct {
	// Seq is its place in the journal. It never repeats, and it is the order
	// of acceptance.
	Seq    uint64
	Source string
	ID     string
	Type   string
	// Kind is as in Delivery.
	Kind        string
	Entities    []string
	Accepted    time.Time
	Traceparent string
	// Pulled and From are as in Delivery.
	Pulled bool
	From   string
	// Replay is the number of the replay that sends this event again on purpose
	// (journal.NextReplay), unique in this journal; 0 for none.
	Replay int
	// Size is the length of the body, which is not always there.
	Size int
	Body []byte
}

// MessageID is what JetStream knows a repeat by (Nats-Msg-Id). It is unique over
// all sources, for the stream looks at nothing else. A replay is meant to be
// stored again, so it has an id of its own.
func (e *Event) MessageID() string {
	id := e.Source + ":" + e.ID
	if e.Replay > 0 {
		id += ":r" + strconv.Itoa(e.Replay)
	}
	return id
}

// WellFormedID reports whether a sender's delivery id can be one: 1 to 256 characters
// of printable ASCII without blanks, as headers carry them.
func WellFormedID(id string) bool {
	if len(id) == 0 || len(id) > 256 {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}
