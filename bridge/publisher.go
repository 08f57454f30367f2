package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/integrity"
)

// Publisher opens sessions with JetStream.
type Publisher interface {
	// Connect makes one attempt to open a session; who calls it retries. It
	// returns once the server has answered, or with why it did not. It is not
	// called again before the last session is closed.
	Connect(ctx context.Context) (Session, error)
}

// Session is one connection to NATS, from its opening to its end. All its methods are
// safe for concurrent use, also with Close. It never
// reconnects: what is sent after a loss goes through a new session, so that
// the stream is verified first (see verify.go).
type Session interface {
	// Publish begins one attempt to store e and returns without waiting for it.
	// done is called once, when JetStream has acknowledged e or the attempt has
	// failed: from any goroutine, also before Publish returns, and at the latest
	// when the publisher's timeout is over, the connection lost or the session closed.
	// It must not block. Every error is, or wraps, a *Failure. An attempt that failed may have
	// stored the event all the same; to publish it again under the same id is
	// safe. Attempts that one goroutine begins reach JetStream in that order.
	Publish(e *Event, done func(Receipt, error))
	// PublishBatch begins one attempt to store events as one atomic batch, in their order:
	// all of them or none. done is called once, as Publish calls it, with a receipt for
	// each event or with an error. An error of the class Undecided says nothing of the
	// events: publish each alone. Those that are stored all the same are then duplicates.
	PublishBatch(events []*Event, done func([]Receipt, error))
	// MaxBatch is how many events an atomic batch may have, as far as is known; 0 when the
	// stream takes none.
	MaxBatch() int
	// Stream describes the stream as it is now. It is ErrNoStream when there is
	// none, and wraps ErrNotPermitted when this client may not ask.
	Stream(ctx context.Context) (StreamState, error)
	// Message is the message at a sequence of the stream, without its body, or
	// ErrNoMessage when there is none.
	Message(ctx context.Context, sequence uint64) (Message, error)
	// Deleted lists the sequences between the stream's first and last that have no
	// message, in order.
	Deleted(ctx context.Context) ([]SequenceRange, error)
	// Heads lists up to n messages from a sequence on, in order, without transferring
	// their bodies where NATS lets it.
	Heads(ctx context.Context, from uint64, n int) ([]Message, error)
	// Done is closed when the connection is lost, after the attempts in flight have ended.
	Done() <-chan struct{}
	// Close ends the session and returns when nothing of it is left.
	Close()
}

// Receipt is JetStream's acknowledgement.
type Receipt struct {
	// Sequence is the message's place in the stream.
	Sequence uint64
	// Duplicate says that the stream had the message already.
	Duplicate bool
}

// What a session tells of a stream is in integrity's words.
type (
	Message       = integrity.Message
	SequenceRange = integrity.Range
	StreamLimits  = integrity.Limits
)

// StreamState is what healing has to know of a stream.
type StreamState struct {
	// Identity tells this stream from another one of the same name.
	Identity string
	// Host names the server process that has the stream: a restart gives it another name.
	// Empty where that cannot be told.
	Host string
	// LastSequence is that of the newest message there ever was in it.
	FirstSequence, LastSequence uint64
	// Messages is how many there are, and Deleted how many between the first and the last
	// sequence are not.
	Messages, Deleted uint64
	// Limits are the reasons for which the stream drops messages by itself.
	Limits StreamLimits
	// Info is what people want to know of it; nothing is decided by that.
	Info StreamInfo
}

// StreamInfo describes a stream and the server that answered for it, for people.
type StreamInfo struct {
	Server        string `json:"server"`
	ServerVersion string `json:"server_version"`
	Address       string `json:"address"`
	Cluster       string `json:"cluster,omitempty"`
	// Leader is the server that has the stream in its charge, in a cluster.
	Leader    string    `json:"leader,omitempty"`
	Name      string    `json:"name"`
	Created   time.Time `json:"created"`
	Subjects  []string  `json:"subjects"`
	Storage   string    `json:"storage"`
	Retention string    `json:"retention"`
	Discard   string    `json:"discard"`
	Replicas  int       `json:"replicas"`
	// The limits are 0 where there is none.
	MaxAge          time.Duration `json:"max_age_ns"`
	MaxBytes        int64         `json:"max_bytes"`
	MaxMessages     int64         `json:"max_messages"`
	DuplicateWindow time.Duration `json:"duplicate_window_ns"`
	Messages        uint64        `json:"messages"`
	Bytes           uint64        `json:"bytes"`
	FirstSequence   uint64        `json:"first_sequence"`
	LastSequence    uint64        `json:"last_sequence"`
	Consumers       int           `json:"consumers"`
	// ConsumerList describes them, the first hundred; ConsumersError says why they cannot be listed.
	ConsumerList   []ConsumerInfo `json:"consumer_list,omitempty"`
	ConsumersError string         `json:"consumers_error,omitempty"`
	// GrowthPerDay is by how many bytes the stream grows in a day, the mean since its first
	// message or of as long as it is kept; 0 where that is less than an hour.
	GrowthPerDay int64 `json:"growth_bytes_per_day,omitempty"`
	// Differences says in what it is not as configured.
	Differences []string `json:"differences,omitempty"`
}

// ConsumerInfo is a consumer of the stream.
type ConsumerInfo struct {
	Name string `json:"name"`
	// Durable ones stay when their reader is away, under a name that somebody chose.
	Durable bool `json:"durable"`
	// Pending have not been delivered to it, AckPending were and are not acknowledged, and
	// Redelivered of those were delivered more than once.
	Pending     uint64 `json:"pending"`
	AckPending  int    `json:"ack_pending"`
	Redelivered int    `json:"redelivered"`
}

// ConsumerLister is a Session that can list the consumers of the stream. It may lack the
// permission, which nothing else needs: then the error wraps ErrNotPermitted.
type ConsumerLister interface {
	Consumers(ctx context.Context) ([]ConsumerInfo, error)
}

// What Session.Stream and Session.Message return.
var (
	ErrNoStream     = errors.New("there is no such stream")
	ErrNoMessage    = errors.New("no message there")
	ErrNotPermitted = errors.New("the NATS user may not ask for that")
)

// Class is the kind of a failed attempt. It alone decides what happens next.
type Class int

const (
	// Unknown: none of the kinds below. Tried again with backoff, and a dead
	// letter after so many attempts.
	Unknown Class = iota
	// LinkDown: there is no connection. Everything waits for the next session.
	LinkDown
	// Held: an operator can repair it without touching the event. The subject
	// waits, the event is tried again until it goes.
	Held
	// Rejected: this event can never be stored as it is. A dead letter at once.
	Rejected
	// Undecided: a batch was refused as a whole, or not answered. Each of its events is
	// tried alone.
	Undecided
)

func (c Class) String() string {
	switch c {
	case LinkDown:
		return "link_down"
	case Held:
		return "held"
	case Rejected:
		return "rejected"
	case Undecided:
		return "undecided"
	}
	return "unknown"
}

// Failure is a failed attempt to publish.
type Failure struct {
	Class Class
	// Reason tells an operator what is wrong and what to change.
	Reason string
	Err    error
}

func (f *Failure) Error() string {
	if f.Err == nil {
		return f.Reason
	}
	return fmt.Sprintf("%s: %v", f.Reason, f.Err)
}

func (f *Failure) Unwrap() error { return f.Err }

// failureOf returns err as a Failure; what is none is of the class Unknown.
func failureOf(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	return &Failure{Class: Unknown, Reason: "publish", Err: err}
}
