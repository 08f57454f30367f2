package integrity

import "time"

// A stream can lose its tail behind a connection that stays up, when it lives on another
// server of a cluster, or behind a leaf node. No session ends by that, so it has to be
// noticed by other signs. The server that has the stream must have been away for that, so:
//
//   - After a silence, and after an attempt that failed, nothing is sent before the newest
//     place has been confirmed: new events of an entity must not stand before older ones
//     that have to be sent again. It is asked for until there is an answer; when there is
//     none within Patience, longer than a cluster takes to elect a leader, the session ends,
//     and the next one waits for the answer. A host that lost power is away for longer than a
//     second, but a killed process was seen to answer again after 270 ms, and one that
//     acknowledges before it writes (persist_mode async) may then be without its tail.
//   - An acknowledgement that comes after a silence makes the sequence before it one to
//     confirm, too: its attempt may have been under way meanwhile.
//   - JetStream gives a sequence again that it had given, to a new event or as that of a
//     repeat. That is certain; it shows unless others publish to the stream and take the
//     sequences.
//   - Once a minute the newest place is confirmed in any case, or a bridge without events
//     would never know.
//   - Every two seconds the stream's state is observed: what is taken away while the server
//     process stays the same is taken away on purpose.

const (
	// Patience bounds the confirmation for which events wait.
	Patience = 10 * time.Second
	// quickestRestart is how long no acknowledgement may come before the stream is to be
	// confirmed; no server starts again within that. What an answer takes is added to it:
	// behind a slow link events would wait for one check after another, while the
	// acknowledgements of others are under way.
	quickestRestart = 250 * time.Millisecond
	// longestSilence bounds the sum.
	longestSilence = time.Second
	// besideEvery is the least time between two checks beside the sending.
	besideEvery = time.Second
	// idleConfirm is how often the newest place is confirmed in any case.
	idleConfirm = time.Minute
	// observeEvery is how often the state is observed.
	observeEvery = 2 * time.Second
)

// Monitor says when to look at the stream while a session is publishing. One goroutine
// owns it. Its zero value is that of no session.
type Monitor struct {
	unverifiable bool   // the stream may not be looked at, so sequences prove nothing
	heard        uint64 // the highest sequence of any acknowledgement, also of duplicates
	acked        time.Time
	silence      time.Duration // how long no acknowledgement may come
	failed       bool          // an attempt has failed since
	// toConfirm is the lowest sequence that is to be confirmed beside the sending; 0 for none.
	toConfirm  uint64
	confirming bool      // a confirmation is under way
	pausing    bool      // and events wait for it
	confirmed  time.Time // when the last confirmation began
	observed   time.Time // when the last observation began
	observing  bool
}

// Begin is the beginning of a session: what the stream has up to last has been verified.
func (m *Monitor) Begin(last uint64, unverifiable bool, now time.Time) {
	*m = Monitor{unverifiable: unverifiable, heard: last, acked: now, silence: quickestRestart, confirmed: now, observed: now,
		confirming: m.confirming, observing: m.observing}
}

// Unverifiable says that the stream may not be looked at.
func (m *Monitor) Unverifiable() bool { return m.unverifiable }

// Baseline is the sequence behind which JetStream's next one has to be.
func (m *Monitor) Baseline() uint64 {
	if m.unverifiable {
		return 0
	}
	return m.heard
}

// Failed notes a failed attempt.
func (m *Monitor) Failed() { m.failed = true }

// Heard notes the sequence of an acknowledgement, also of a duplicate: the stream had a
// message there.
func (m *Monitor) Heard(seq uint64, duplicate bool, now time.Time) {
	if !duplicate {
		if now.Sub(m.acked) > m.silence {
			m.Doubt(m.heard)
		}
		m.acked = now
	}
	m.heard = max(m.heard, seq)
}

// Doubt makes a sequence one to confirm beside the sending.
func (m *Monitor) Doubt(seq uint64) {
	if m.toConfirm == 0 || seq < m.toConfirm {
		m.toConfirm = seq
	}
}

// Check is what is to be confirmed: that the stream reaches to Heard, and that it has the
// newest place up to Seq.
type Check struct{ Seq, Heard uint64 }

// Before is the check that has to pass before anything is sent; ok is false when there is
// none to begin.
func (m *Monitor) Before(now time.Time) (c Check, ok bool) {
	if m.unverifiable || m.heard == 0 || !m.failed && now.Sub(m.acked) <= m.silence {
		return c, false
	}
	if m.confirming { // an older one, perhaps: that has to end, and then the newest is next
		m.pausing = true
		return c, false
	}
	m.confirming, m.pausing, m.confirmed = true, true, now
	return Check{m.heard, m.heard}, true
}

// Beside is the check to make beside the sending; ok is false when there is none.
func (m *Monitor) Beside(now time.Time) (c Check, ok bool) {
	if m.unverifiable || m.confirming || m.heard == 0 || now.Sub(m.confirmed) < besideEvery || m.toConfirm == 0 && now.Sub(m.confirmed) < idleConfirm {
		return c, false
	}
	c = Check{m.heard, m.heard}
	if m.toConfirm != 0 {
		c.Seq = m.toConfirm
	}
	m.toConfirm, m.confirming, m.confirmed = 0, true, now
	return c, true
}

// Pausing says that events wait for a check.
func (m *Monitor) Pausing() bool { return m.pausing }

// Busy says that a check or an observation is under way.
func (m *Monitor) Busy() bool { return m.confirming || m.observing }

// Ended ends a check, whose answer took so long.
func (m *Monitor) Ended(c Check, took time.Duration, now time.Time) {
	m.answered(took / 2) // it asks for the state and for a message
	switch {
	case !m.pausing:
	case c.Seq == m.heard:
		m.failed, m.acked = false, now
	default: // the newest is next: events that went before that would end in a silence again
		m.failed = true
	}
	m.confirming, m.pausing = false, false
}

// answered notes how long an answer takes at present, as an acknowledgement does.
func (m *Monitor) answered(took time.Duration) {
	m.silence = min(quickestRestart+took, longestSilence)
}

// Observe says whether the stream's state is to be observed now.
func (m *Monitor) Observe(now time.Time) bool {
	if m.unverifiable || m.observing || now.Sub(m.observed) < observeEvery {
		return false
	}
	m.observing, m.observed = true, now
	return true
}

// Observed ends an observation, whose answer took so long.
func (m *Monitor) Observed(took time.Duration) {
	m.answered(took)
	m.observing = false
}
