package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// stream is the model of a JetStream stream, as far as a publisher or an operator can tell
// it from the real one. model_test.go compares the two operation by operation.
type stream struct {
	created  time.Time
	window   time.Duration // the duplicate window
	last     uint64        // the highest sequence ever given, as far as the server knows
	messages map[uint64]*message
	ended    []*message // that are no longer in it
	ids      map[string]known

	// The limits are 0 where there is none. At maxMessages a stream with discardNew refuses,
	// else the oldest message goes.
	maxMessages, maxPerSubject int
	purged                     bool // once: then even an empty stream has a first sequence
	discardNew                 bool
	batches                    bool // it takes atomic batches
}

type message struct {
	subject, id string
	body        []byte
	at          time.Time
	fate        fate
	seq         uint64
	in          *stream
}

// fate is what has become of a message that was stored.
type fate int

const (
	present fate = iota
	removed      // on purpose: purged, deleted, or beyond a limit
	lost         // its server lost power
	dropped      // its stream was deleted
	givenUp      // it was lost, and then what could have shown that was removed on purpose
)

// known is an entry of the duplicate window. It outlives its message.
type known struct {
	seq uint64
	at  time.Time
}

func newStream(created time.Time, window time.Duration) *stream {
	return &stream{created: created, window: window, batches: true, messages: make(map[uint64]*message), ids: make(map[string]known)}
}

// publish stores a message, unless its id is in the window; refused says that a limit is
// reached.
func (s *stream) publish(m *message) (seq uint64, duplicate, refused bool) {
	if k, ok := s.ids[m.id]; ok && m.id != "" && m.at.Sub(k.at) < s.window {
		return k.seq, true, false
	}
	if s.discardNew && s.maxMessages > 0 && len(s.messages) >= s.maxMessages {
		return 0, false, true
	}
	s.last++
	m.seq, m.in = s.last, s
	s.messages[s.last] = m
	if m.id != "" {
		s.ids[m.id] = known{s.last, m.at}
	}
	s.enforce()
	return s.last, false, false
}

// publishBatch stores messages as one atomic batch, or says with a code why it stores none.
func (s *stream) publishBatch(batch []*message) (last uint64, refused int) {
	if !s.batches {
		return 0, notAllowed
	}
	inBatch := make(map[string]bool)
	for i, m := range batch {
		if k, ok := s.ids[m.id]; m.id != "" && (inBatch[m.id] || ok && m.at.Sub(k.at) < s.window) {
			return 0, knownID
		}
		inBatch[m.id] = true
		if s.discardNew && s.maxMessages > 0 && len(s.messages)+i+1 > s.maxMessages {
			return 0, atLimit
		}
	}
	for _, m := range batch {
		last, _, _ = s.publish(m)
	}
	return last, 0
}

// The codes with which a server refuses a batch.
const (
	atLimit    = 10077
	notAllowed = 10174
	incomplete = 10176
	knownID    = 10201
	tooMany    = 10210
)

// enforce removes what is beyond the limits.
func (s *stream) enforce() {
	if s.maxPerSubject > 0 {
		count := make(map[string]int)
		for _, seq := range slices.Backward(s.sequences()) {
			m := s.messages[seq]
			if count[m.subject]++; count[m.subject] > s.maxPerSubject {
				s.end(seq, removed)
			}
		}
	}
	if s.maxMessages > 0 && !s.discardNew {
		for len(s.messages) > s.maxMessages {
			s.end(s.first(), removed)
		}
	}
}

func (s *stream) sequences() []uint64 { return slices.Sorted(maps.Keys(s.messages)) }

// first is the sequence of the oldest message; one after the last when there is none.
func (s *stream) first() uint64 {
	first := s.last + 1
	for seq := range s.messages {
		first = min(first, seq)
	}
	return first
}

// firstSaid is what the server calls the first one: 0 in a stream that never had any.
func (s *stream) firstSaid() uint64 {
	if s.last == 0 && !s.purged {
		return 0
	}
	return s.first()
}

// holes is how many sequences between the first and the last have no message; in a stream
// that never had any the server counts one.
func (s *stream) holes() int {
	if s.last == 0 && !s.purged {
		return 1
	}
	if len(s.messages) == 0 {
		return 0
	}
	return int(s.last-s.first()+1) - len(s.messages)
}

// deleted are the sequences between the first and the last that have no message.
func (s *stream) deleted() (ranges []bridge.SequenceRange) {
	if len(s.messages) == 0 {
		return nil
	}
	for seq := s.first(); seq <= s.last; seq++ {
		if s.messages[seq] != nil {
			continue
		}
		if n := len(ranges); n > 0 && ranges[n-1].Last+1 == seq {
			ranges[n-1].Last = seq
		} else {
			ranges = append(ranges, bridge.SequenceRange{First: seq, Last: seq})
		}
	}
	return ranges
}

func (s *stream) end(seq uint64, f fate) {
	m := s.messages[seq]
	m.fate = f
	delete(s.messages, seq)
	s.ended = append(s.ended, m)
	if f == lost {
		return
	}
	s.giveUp(func(other *message) bool { return other.seq == seq })
}

// giveUp is of lost messages: who removes what stands in their place, or their subject,
// removes the trace of the loss.
func (s *stream) giveUp(which func(*message) bool) {
	for _, m := range s.ended {
		if m.fate == lost && m.seq <= s.last && which(m) {
			m.fate = givenUp
		}
	}
}

// purge removes the messages of a subject, or of a prefix that ends in ">"; all when it is
// empty. It returns how many those were.
func (s *stream) purge(subject string) int {
	s.purged = s.purged || subject == ""
	n := 0
	prefix, isPrefix := strings.CutSuffix(subject, ">")
	for seq, m := range s.messages {
		if subject == "" || m.subject == subject || isPrefix && strings.HasPrefix(m.subject, prefix) {
			s.end(seq, removed)
			n++
		}
	}
	s.giveUp(func(m *message) bool {
		return subject == "" || m.subject == subject || isPrefix && strings.HasPrefix(m.subject, prefix)
	})
	return n
}

// remove deletes one message.
func (s *stream) remove(seq uint64) bool {
	if s.messages[seq] == nil {
		return false
	}
	s.end(seq, removed)
	return true
}

// restart is what a restart of the server does to the window: it is rebuilt from the
// messages that there are.
func (s *stream) restart(now time.Time) {
	s.ids = make(map[string]known)
	for _, seq := range s.sequences() {
		if m := s.messages[seq]; m.id != "" && now.Sub(m.at) < s.window {
			s.ids[m.id] = known{seq, m.at}
		}
	}
}

// losePower takes the messages behind a sequence, and restarts. With keepLast the index
// had reached the disk: the server knows that there were messages, and gives none of their
// sequences again.
func (s *stream) losePower(after uint64, keepLast bool, now time.Time) (n int) {
	for seq := range s.messages {
		if seq > after {
			s.end(seq, lost)
			n++
		}
	}
	if !keepLast {
		s.last = min(s.last, after)
		for _, m := range s.ended {
			if m.fate == removed && m.seq > s.last {
				m.fate = givenUp // its sequence will be another's
			}
		}
	}
	s.restart(now)
	return n
}

// loseBlock takes the messages between two sequences, these included, and restarts.
func (s *stream) loseBlock(from, to uint64, now time.Time) (n int) {
	for seq := range s.messages {
		if seq >= from && seq <= to {
			s.end(seq, lost)
			n++
		}
	}
	s.restart(now)
	return n
}
