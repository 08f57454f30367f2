package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// A stream can lose its tail behind a connection that stays up, when it lives on
// another server of a cluster, or behind a leaf node. No session ends by that, so it
// has to be noticed by other signs. The server that has the stream must have been away
// for that, so:
//
//   - After a silence of a second, and after an attempt that failed, nothing is sent
//     before the last place that was given has been looked up: new events of an entity
//     must not stand before older ones that have to be sent again. It is asked until
//     there is an answer; when there is none for ten seconds, longer than a cluster takes
//     to elect a leader, the session is ended, and the next waits for it, and says so.
//   - An acknowledgement that comes after a silence makes the place before suspect, too:
//     its attempt may have been under way meanwhile.
//   - JetStream gives a place again that it had given away, to a new event or as the
//     place of a repeat. That is certain; it shows unless others publish to the stream
//     and take the places.
//   - Once a minute the last place is looked up in any case, or a bridge without events
//     would never know.
//
// What was noticed is written down before anything else, for the places given
// since hide the loss from a later look, and ends the session; the next begins with
// healing.

const (
	// silence is how long no acknowledgement may come before the stream is suspected;
	// no server starts again within that.
	silence = time.Second
	// patience bounds the looks for which events wait.
	patience = 10 * time.Second
	// idleLook is how often the last place is looked up in any case.
	idleLook = time.Minute
)

// watch is what the loop knows of places in the stream, in one session.
type watch struct {
	blind   bool   // nobody may look at the stream, so places are not watched
	highest uint64 // that JetStream has given
	acked   time.Time
	trouble bool // an attempt has failed since
	// suspect is the lowest place that is to be looked up beside the sending; 0 for none.
	suspect uint64
	looking bool      // a look is under way
	pausing bool      // and events wait for it
	looked  time.Time // when the last look began
	lookups chan lookup
}

// lookup is the answer to whether the stream still has a place.
type lookup struct {
	place uint64
	lost  bool
	anew  bool // it is another stream
	err   error
}

func newWatch() watch { return watch{lookups: make(chan lookup, 1)} }

// begin is at the begin of a session; all places up to highest have been looked at.
func (w *watch) begin(highest uint64, blind bool) {
	w.blind, w.highest, w.suspect, w.trouble = blind, highest, 0, false
	w.acked, w.looked = time.Now(), time.Now()
}

// floor is the place behind which JetStream's next one has to be.
func (w *watch) floor() uint64 {
	if w.blind {
		return 0
	}
	return w.highest
}

// failed notes a failed attempt.
func (w *watch) failed() { w.trouble = true }

// given notes the place of a new event.
func (w *watch) given(place uint64, now time.Time) {
	if now.Sub(w.acked) > silence {
		w.suspicious(w.highest)
	}
	w.acked = now
	w.highest = max(w.highest, place)
}

func (w *watch) suspicious(place uint64) {
	if w.suspect == 0 || place < w.suspect {
		w.suspect = place
	}
}

// before is the place to look up before anything is sent; 0 for none.
func (w *watch) before(now time.Time) uint64 {
	if w.blind || w.highest == 0 || !w.trouble && now.Sub(w.acked) <= silence {
		return 0
	}
	if w.looking { // at a place before, perhaps: that has to be over, and then the highest is next
		w.pausing = true
		return 0
	}
	w.looking, w.pausing, w.looked = true, true, now
	return w.highest
}

// beside is the place to look up beside the sending; 0 for none.
func (w *watch) beside(now time.Time) uint64 {
	if w.blind || w.looking || now.Sub(w.looked) < silence || w.suspect == 0 && now.Sub(w.looked) < idleLook {
		return 0
	}
	place := w.suspect
	if place == 0 {
		place = w.highest
	}
	if place != 0 {
		w.suspect, w.looking, w.looked = 0, true, now
	}
	return place
}

// over ends a look.
func (w *watch) over(now time.Time, place uint64) {
	if w.pausing && place == w.highest {
		w.trouble, w.acked = false, now
	}
	w.looking, w.pausing = false, false
}

// lookUp asks whether the stream still has the event at a place, until it has an answer
// or its patience ends.
func (b *Bridge) lookUp(ctx context.Context, s Session, place uint64) lookup {
	ctx, cancel := whileOpen(ctx, s)
	defer cancel()
	ctx, cancelWait := context.WithTimeout(ctx, patience)
	defer cancelWait()
	wait := b.o.Backoff.newBackOff()
	for {
		l := b.lookOnce(ctx, s, place)
		if l.err == nil || ctx.Err() != nil {
			return l
		}
		select {
		case <-time.After(min(wait.NextBackOff(), time.Second)):
		case <-ctx.Done():
			return l
		}
	}
}

func (b *Bridge) lookOnce(ctx context.Context, s Session, place uint64) lookup {
	l := lookup{place: place}
	state, err := s.Stream(ctx)
	if errors.Is(err, ErrNoStream) || errors.Is(err, ErrNotPermitted) {
		return l // it shows elsewhere
	}
	if err != nil {
		l.err = err
		return l
	}
	switch known, err := b.journal.Stream(); {
	case err != nil:
		l.err = err
		return l
	case known == "": // it was made in this session
		if l.err = b.journal.NoteStream(state.Identity); l.err != nil {
			return l
		}
	case known != state.Identity:
		l.anew = true
		return l
	}
	if place > state.LastSequence { // whosever it was: a replay's place is in no record
		l.lost = true
		return l
	}
	p, ok, err := b.journal.PositionFrom(place)
	if err != nil || !ok || p.StreamSeq != place {
		if !journal.Damaged(err) {
			l.err = err
		}
		return l
	}
	l.lost, l.err = b.isLost(ctx, s, state, p)
	return l
}

// whileOpen is ctx until the session ends.
func whileOpen(ctx context.Context, s Session) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// lookedUp takes the answer.
func (l *loop) lookedUp(answer lookup) error {
	l.questions--
	paused := l.watch.pausing
	l.watch.over(time.Now(), answer.place)
	switch {
	case l.phase == ending:
	case answer.anew:
		l.lose("the stream was made anew behind a connection that stayed up")
	case answer.lost:
		return l.wentBack(answer.place)
	case answer.err != nil && paused:
		l.lose(fmt.Sprintf("the stream does not answer (%v)", answer.err))
	case answer.err != nil:
		l.watch.suspicious(answer.place) // once more
	}
	return nil
}

// wentBack ends the session because the stream has lost a place, at least this one. It
// is on disk when it returns: a restart must not forget it.
func (l *loop) wentBack(place uint64) error {
	l.lose("the stream has lost acknowledged events behind a connection that stayed up")
	return l.b.journal.NoteRollback(place)
}

// isGiven says whether the place of a receipt belongs to another event, as far as is
// known: then the stream has gone back. before are the places of this batch.
func (l *loop) isGiven(res result, before map[uint64]*Event) (bool, error) {
	if other := before[res.receipt.Sequence]; other != nil {
		return other.MessageID() != res.event.MessageID(), nil
	}
	p, ok, err := l.b.journal.PositionFrom(res.receipt.Sequence)
	if err != nil || !ok || p.StreamSeq != res.receipt.Sequence || p.Seq == res.item.Seq {
		return false, err
	}
	e, err := l.b.eventAt(p)
	if errors.Is(err, journal.ErrNotFound) || journal.Damaged(err) {
		return false, nil // it is on its way again already, or cannot be compared
	}
	return err == nil && e.MessageID() != res.event.MessageID(), err
}

// eventAt is the published event at a place, without its body.
func (b *Bridge) eventAt(p journal.StreamPosition) (*Event, error) {
	item, err := b.journal.Published(p.Seq)
	if err != nil {
		return nil, err
	}
	return parseHeader(item.Header)
}
