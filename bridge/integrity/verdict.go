package integrity

import "time"

// Kind is what a pass found in general.
type Kind int

const (
	// Intact: nothing is known to be lost. What is missing was taken away on purpose, or is
	// undecided.
	Intact Kind = iota
	// Lost: the stream has lost events. From and Holes say which.
	Lost
	// Recreated: the stream is another one; it has none of the events at their sequences.
	Recreated
	// Absent: the server finds no stream.
	Absent
)

func (k Kind) String() string {
	return [...]string{"intact", "lost", "recreated", "absent"}[k]
}

// Verdict is the result of a pass.
type Verdict struct {
	Kind Kind
	// State is the stream's at the beginning of the pass.
	State State
	// Adopted: the identity is new and the sequences hold their ids.
	Adopted bool
	// From is the first sequence that was rolled back, or 0: what the ledger has from there
	// on is lost.
	From uint64
	// Holes are lost below From. Their ends are sequences of the stream.
	Holes []Range
	// Deleted was taken away on purpose: the ledger forgets these sequences.
	Deleted []Range
	// Undecided is missing, and nothing says why.
	Undecided []Range
	// Stored are pending records that the stream has already. They are marked after what was
	// lost has been unpublished, because they may have its sequences.
	Stored []Stored
	// Unexamined: so many messages are deleted that holes were not looked for.
	Unexamined bool
	// LostByServer: a recreated stream was lost by its server and not deleted, as far as can
	// be told: the server process that had it is no more, and the new stream is empty.
	LostByServer bool
}

// Stored is a pending record and the sequence at which the stream has its message.
type Stored struct {
	Seq, Record uint64
	At          time.Time
}
