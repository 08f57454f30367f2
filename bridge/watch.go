package bridge

import (
	"context"
	"errors"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// A stream can lose its tail behind a connection that stays up, when it lives on
// another server of a cluster, or behind a leaf node. No session ends by that, so it
// has to be noticed by other signs:
//
//   - JetStream gives a place again that it had given away, to a new event or as the
//     place of a repeat. That is certain, and the first event after the loss shows
//     it, unless others publish to the stream and take the place.
//   - The server that has the stream must have been away for that. So after a
//     silence of a second, and after an attempt that failed, the last place that was
//     given before is looked up, while events go on. And once a minute the last place
//     of all, or a bridge without events would never know.
//
// What was noticed is written down before anything else, for the places given
// since hide the loss from a later look, and ends the session; the next begins with
// healing. Events that were sent between the loss and its discovery stand in the stream
// before the older ones of their entities that are sent again: that cannot be helped.

const (
	// silence is how long no acknowledgement may come before the stream is suspected;
	// no server starts again within that.
	silence = time.Second
	// idleLook is how often the last place is looked up in any case.
	idleLook = time.Minute
)

// watch is what the runner knows of places in the stream, in one session.
type watch struct {
	blind   bool   // nobody may look at the stream, so places are not watched
	highest uint64 // that JetStream has given
	acked   time.Time
	trouble bool // an attempt has failed since
	// suspect is the lowest place that is to be looked up; 0 for none. looking says
	// that one is.
	suspect uint64
	looking bool
	looked  time.Time // when the last look began
	lookups chan lookup
}

// lookup is the answer to whether the stream still has a place.
type lookup struct {
	session Session
	place   uint64
	lost    bool
	err     error
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
	if (w.trouble || now.Sub(w.acked) > silence) && w.highest > 0 {
		w.suspicious(w.highest)
	}
	w.trouble, w.acked = false, now
	w.highest = max(w.highest, place)
}

func (w *watch) tick(now time.Time) {
	if w.highest > 0 && now.Sub(w.looked) > idleLook {
		w.suspicious(w.highest)
	}
}

func (w *watch) suspicious(place uint64) {
	if w.suspect == 0 || place < w.suspect {
		w.suspect = place
	}
}

// next is the place to look up now; 0 for none.
func (w *watch) next() uint64 {
	now := time.Now()
	if w.suspect == 0 || w.looking || w.blind || now.Sub(w.looked) < silence/4 {
		return 0
	}
	place := w.suspect
	w.suspect, w.looking, w.looked = 0, true, now
	return place
}

// lookUp asks whether the stream still has the event at a place.
func (b *Bridge) lookUp(ctx context.Context, s Session, place uint64) lookup {
	l := lookup{session: s, place: place}
	ctx, cancel := whileOpen(ctx, s)
	defer cancel()
	p, ok, err := b.journal.PlacedFrom(place)
	if err != nil || !ok || p.StreamSeq != place {
		l.err = err
		return l
	}
	state, err := s.Stream(ctx)
	if errors.Is(err, ErrNoStream) || errors.Is(err, ErrNotPermitted) {
		return l // it shows elsewhere
	}
	if err != nil {
		l.err = err
		return l
	}
	if known, err := b.journal.Stream(); err != nil || known != state.Identity {
		l.err = err
		return l // another stream: the publisher ends the session for that
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
func (r *runner) lookedUp(l lookup) error {
	r.watch.looking = false
	if l.session != r.session || r.lost {
		return nil
	}
	if l.err != nil {
		r.watch.suspicious(l.place) // once more
		return nil
	}
	if l.lost {
		return r.wentBack(l.place)
	}
	return nil
}

// wentBack ends the session because the stream has lost a place, at least this one. It
// is on disk when it returns: a restart must not forget it.
func (r *runner) wentBack(place uint64) error {
	r.lose("the stream has lost acknowledged events behind a connection that stayed up")
	return r.b.journal.NoteLost(place)
}

// isGiven says whether the place of a receipt belongs to another event, as far as is
// known: then the stream has gone back. before are the places of this batch.
func (r *runner) isGiven(res result, before map[uint64]*Event) (bool, error) {
	if other := before[res.receipt.Sequence]; other != nil {
		return other.MessageID() != res.event.MessageID(), nil
	}
	p, ok, err := r.b.journal.PlacedFrom(res.receipt.Sequence)
	if err != nil || !ok || p.StreamSeq != res.receipt.Sequence || p.Seq == res.item.Seq {
		return false, err
	}
	e, err := r.b.eventAt(p)
	if errors.Is(err, journal.ErrNotFound) {
		return false, nil // it is on its way again already
	}
	return err == nil && e.MessageID() != res.event.MessageID(), err
}

// eventAt is the published event at a place, without its body.
func (b *Bridge) eventAt(p journal.Placed) (*Event, error) {
	item, err := b.journal.Published(p.Seq)
	if err != nil {
		return nil, err
	}
	return parseHeader(item.Header)
}
