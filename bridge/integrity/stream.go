package integrity

import (
	"context"
	"time"
)

// Stream is what a pass asks of JetStream. Every method answers for the stream's leader.
type Stream interface {
	// State describes the stream as it is now; Exists is false when there is none.
	State(ctx context.Context) (State, error)
	// Messages looks up messages by sequence. With an error it returns the answers that
	// had come until then.
	Messages(ctx context.Context, wanted []Wanted) (map[uint64]Answer, error)
	// Deleted lists the sequences between the first and the last that have no message,
	// in order.
	Deleted(ctx context.Context) ([]Range, error)
	// Heads lists up to n messages from a sequence on, in order.
	Heads(ctx context.Context, from uint64, n int) ([]Message, error)
}

// State is the state of a stream.
type State struct {
	Exists bool
	// Identity tells a stream from another one of the same name.
	Identity string
	// Host names the server process that has the stream: a restart gives it another name.
	// It is empty where that cannot be told.
	Host string
	// First and Last are the lowest and the highest sequence. Last never goes back, whatever
	// is deleted; a server that loses its tail may take it back.
	First, Last uint64
	// Messages is how many there are, and Deleted how many between First and Last are not.
	Messages, Deleted uint64
	Limits            Limits
}

// Limits are the reasons for which a stream drops messages by itself. Zero is no limit.
type Limits struct {
	MaxAge        time.Duration
	MaxMessages   uint64
	MaxBytes      uint64
	MaxPerSubject uint64
	Bytes         uint64 // what MaxBytes is compared with
	// RemovedOnceHandled is true of WorkQueue and Interest: an acknowledged message goes.
	RemovedOnceHandled bool
}

// Message is a stored message without its body.
type Message struct {
	Seq uint64
	ID  string // Nats-Msg-Id; empty for a message of somebody else
	// Stored is when the server stored it, by the server's clock; zero where unknown.
	Stored time.Time
	// Digest is the SHA-256 of its body; zero where that was not read.
	Digest [32]byte
}

// Wanted names a message, and the size that its body would have.
type Wanted struct {
	Seq  uint64
	Size int
}

// Answer is what is at a sequence.
type Answer struct {
	Found bool
	Message
}

// Range is a run of sequences, both ends included.
type Range struct{ First, Last uint64 }

// Has says whether the range has a sequence.
func (r Range) Has(seq uint64) bool { return r.First <= seq && seq <= r.Last }
