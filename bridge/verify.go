package bridge

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/persat-bridge/persat-bridge/bridge/integrity"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// At the beginning of every session, before anything is sent through it, the stream is
// verified (package integrity). When the answer does not come, nothing is sent: an
// election may be under way, and to publish into a stream that has lost its tail would put
// a new event of an entity before its older ones. Only a client that is not permitted to
// ask goes on without, and says so.

// finding is the end of a session's verification.
type finding struct {
	// answered says that there was an answer; without one the session is over.
	answered bool
	// unverifiable says that this client may not ask, or the journal cannot be read there:
	// a rollback cannot be told.
	unverifiable bool
	verdict      integrity.Verdict
}

// verify makes passes until one has an answer, or the session or ctx ends.
func (b *Bridge) verify(ctx context.Context, s Session) finding {
	ctx, cancel := whileOpen(ctx, s)
	defer cancel()
	wait := b.o.Backoff.newBackOff()
	confirmed := new(integrity.Confirmed)
	for begin, logged := time.Now(), false; ; {
		v, err := integrity.Verify(ctx, verifiable{s}, b.ledger, integrity.Options{Newest: b.o.MaxInFlight + 1, Now: time.Now()}, confirmed)
		if err == nil {
			v.Stored, err = b.sameBytes(ctx, s, v.Stored)
		}
		if err == nil {
			return finding{answered: true, verdict: v}
		}
		if ctx.Err() != nil {
			return finding{}
		}
		if errors.Is(err, ErrNotPermitted) {
			b.o.Log.Warn("the stream cannot be verified: the bridge would not notice a loss of acknowledged events", zap.Error(err))
			return b.unverifiable()
		}
		if journal.Damaged(err) {
			b.o.Log.Error("the journal's stream sequences cannot be read: the bridge would not notice a loss of acknowledged events; 'persat-bridge journal repair' saves the rest", zap.Error(err))
			return b.unverifiable()
		}
		b.link.waits(err)
		if !logged && time.Since(begin) > showHeldAfter {
			logged = true
			b.o.Log.Warn("waiting for the stream to answer; "+b.link.meanwhile, zap.Error(err))
		}
		select {
		case <-time.After(min(wait.NextBackOff(), 5*time.Second)):
		case <-ctx.Done():
			return finding{}
		}
	}
}

// sameBytes leaves out the messages that bear the id of a pending record and are not its
// event: the id was used for something else before. A message that was stored since the
// record was accepted is the bridge's own.
func (b *Bridge) sameBytes(ctx context.Context, s Session, stored []integrity.Stored) ([]integrity.Stored, error) {
	var same []integrity.Stored
	for _, m := range stored {
		item, _, err := b.journal.Load(m.Record)
		if item.Seq == 0 {
			return nil, err
		}
		if m.At.Before(item.Appended) {
			there, err := s.Message(ctx, m.Seq)
			if err != nil && !errors.Is(err, ErrNoMessage) {
				return nil, err
			}
			if err != nil || there.Digest != ([32]byte{}) && !bytes.HasPrefix(there.Digest[:], item.Digest) {
				continue
			}
		}
		same = append(same, m)
	}
	return same, nil
}

// unverifiable is the finding where the stream cannot be verified: a rollback that is noted
// needs no verification.
func (b *Bridge) unverifiable() finding {
	noted, err := b.journal.RollbackNoted()
	if err != nil {
		b.o.Log.Error("the note of a rollback of the stream cannot be read", zap.Error(err))
	}
	return finding{answered: true, unverifiable: true, verdict: integrity.Verdict{From: noted}}
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

// verifiable is a session's stream as integrity sees it.
type verifiable struct{ Session }

var _ integrity.Stream = verifiable{}

// State implements integrity.Stream.
func (v verifiable) State(ctx context.Context) (integrity.State, error) {
	s, err := v.Stream(ctx)
	if errors.Is(err, ErrNoStream) {
		return integrity.State{}, nil
	}
	return integrity.State{
		Exists: true, Identity: s.Identity, Host: s.Host, First: s.FirstSequence, Last: s.LastSequence,
		Messages: s.Messages, Deleted: s.Deleted, Limits: s.Limits,
	}, err
}

const (
	// lookups is how many messages are looked up at the same time.
	lookups = 8
	// largeBody is the size from which a message is looked up without its body.
	largeBody = 32 << 10
)

// Messages implements integrity.Stream.
func (v verifiable) Messages(ctx context.Context, wanted []integrity.Wanted) (map[uint64]integrity.Answer, error) {
	answers := make(map[uint64]integrity.Answer, len(wanted))
	var mu sync.Mutex
	var group errgroup.Group // one that fails does not end the others
	group.SetLimit(lookups)
	for _, w := range wanted {
		group.Go(func() error {
			a, err := v.message(ctx, w)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				answers[w.Seq] = a
			}
			return err
		})
	}
	err := group.Wait()
	return answers, err
}

// message looks up one message. A large one would take long over a slow link, and only its
// id is needed.
func (v verifiable) message(ctx context.Context, w integrity.Wanted) (integrity.Answer, error) {
	if w.Size >= largeBody {
		heads, err := v.Heads(ctx, w.Seq, 1)
		if err != nil || len(heads) == 0 || heads[0].Seq != w.Seq {
			return integrity.Answer{}, err
		}
		return integrity.Answer{Found: true, Message: heads[0]}, nil
	}
	m, err := v.Message(ctx, w.Seq)
	if errors.Is(err, ErrNoMessage) {
		return integrity.Answer{}, nil
	}
	return integrity.Answer{Found: err == nil, Message: m}, err
}
