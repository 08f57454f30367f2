package integrity

import "time"

// Ledger is what the journal knows of the stream: which record is at which sequence. A
// sequence that it was told to forget is in none of its answers.
type Ledger interface {
	// Identity is the stream that the sequences are of; empty when none is known.
	Identity() (string, error)
	// Observed is what was last noted of that stream; zero when nothing was.
	Observed() (Observation, error)
	// RollbackNoted is the lowest sequence that was found rolled back before, or 0.
	RollbackNoted() (uint64, error)
	// Newest lists up to n places below a sequence, the highest first; 0 is from the end.
	Newest(below uint64, n int) ([]Place, error)
	// From lists up to n places at or above a sequence, the lowest first.
	From(seq uint64, n int) ([]Place, error)
	// Record describes the record at a place; known is false when the record cannot be
	// compared, because it is damaged or is pending again.
	Record(p Place) (r Record, known bool, err error)
	// Unsent is the pending record with a message id; ok is false when there is none.
	Unsent(id string) (record uint64, ok bool, err error)
	// HasUnsent says whether there is any pending record.
	HasUnsent() (bool, error)
}

// Place is a published record by its sequence in the stream.
type Place struct{ Seq, Record uint64 }

// Record is what the ledger knows of a published record.
type Record struct {
	// ID is the message's Nats-Msg-Id.
	ID string
	// Subject and Entities are equal for records of the same subject or entity.
	Subject  string
	Entities []string
	// Marked is when its acknowledgement was noted.
	Marked time.Time
	Size   int
}

// Observation is what a stream's state was at a time, kept over restarts of the bridge.
type Observation struct {
	Identity, Host    string
	First, Last       uint64
	Messages, Deleted uint64
	At                time.Time
}

// Observe makes an observation of a state.
func (s State) Observe(now time.Time) Observation {
	return Observation{Identity: s.Identity, Host: s.Host, First: s.First, Last: s.Last, Messages: s.Messages, Deleted: s.Deleted, At: now}
}

// unbroken is how far apart two observations may be for no host to have lost power and
// come back in between.
const unbroken = 5 * time.Second

// Unbroken says whether nothing can have been lost between the observation and state,
// which is that of now.
func (o Observation) Unbroken(state State, now time.Time) bool {
	if o.Identity == "" || o.Identity != state.Identity {
		return false
	}
	if o.Host != "" && state.Host != "" {
		return o.Host == state.Host
	}
	return now.Sub(o.At).Abs() <= unbroken
}
