package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// view writes events into the bucket.
//
// Newest is what has the highest sequence in the stream, which is to say what
// arrived last. Persat says of most events neither when the thing happened nor
// which of two came first, so there is nothing better; a retry can bring an old
// snapshot more than a day late, and the next event of the entity mends it. Where
// that is too much, ask Persat's API for the entity when it matters.
//
// A replay is the exception: its sequence is new and its snapshot old. So it
// only counts when it was accepted after the one that is there. So are all events of a
// stream that was recreated: its sequences begin at 1 again, below those in the bucket.
type view struct {
	bucket jetstream.KeyValue
	stream time.Time // when the stream was created whose messages are applied
}

// latest is a value of the bucket.
type latest struct {
	// Sequence is where in the stream the event is.
	Sequence uint64 `json:"sequence"`
	// Stream is when that stream was created.
	Stream time.Time `json:"stream"`
	// Accepted is when the bridge took it.
	Accepted time.Time `json:"accepted"`
	Type     string    `json:"type"`
	Entity   string    `json:"entity"`
	// Deleted says that the entity is gone. The entry stays, or an event that
	// comes late would bring the entity back.
	Deleted bool `json:"deleted,omitempty"`
	// Snapshot is the entity as Persat sent it; null once it is deleted.
	Snapshot json.RawMessage `json:"snapshot"`
}

// newerThan decides which of two values stays.
func (l *latest) newerThan(other *latest, replayed bool) bool {
	if !l.Stream.Equal(other.Stream) {
		return l.Accepted.After(other.Accepted)
	}
	if l.Sequence <= other.Sequence {
		return false
	}
	return !replayed || l.Accepted.After(other.Accepted)
}

// apply brings the bucket up to date with one message. It can be called with the
// same message again, and with an older one.
func (v *view) apply(ctx context.Context, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read metadata: %w", err)
	}
	event, err := persat.Parse(m.Data())
	if err != nil {
		return nil // no event, so nothing to show
	}
	accepted, err := time.Parse(time.RFC3339Nano, m.Headers().Get("ce-time"))
	if err != nil {
		accepted = meta.Timestamp
	}
	source := strings.TrimPrefix(m.Headers().Get("ce-source"), "/persat/")
	for _, s := range event.Snapshots() {
		if s.Entity == "" {
			continue
		}
		value := latest{Sequence: meta.Sequence.Stream, Stream: v.stream, Accepted: accepted, Type: event.Type, Entity: s.Entity}
		if value.Deleted = event.Action == "deleted"; !value.Deleted {
			value.Snapshot = s.Data
		}
		if err := v.put(ctx, key(source, event.Type, s.Entity), value, m.Headers().Get("Persat-Replay") != ""); err != nil {
			return err
		}
	}
	return nil
}

// put writes a value unless a newer one is there. Somebody may write in between,
// so a write names the revision that it replaces, and is tried again.
func (v *view) put(ctx context.Context, key string, value latest, replayed bool) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	const attempts = 10
	for range attempts {
		var revision uint64 // 0: there must be none yet
		switch entry, err := v.bucket.Get(ctx, key); {
		case err == nil:
			var have latest
			if err := json.Unmarshal(entry.Value(), &have); err != nil {
				return fmt.Errorf("read %s: %w", key, err)
			}
			if !value.newerThan(&have, replayed) {
				return nil
			}
			revision = entry.Revision()
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return fmt.Errorf("read %s: %w", key, err)
		}
		if revision == 0 {
			_, err = v.bucket.Create(ctx, key, text)
		} else {
			_, err = v.bucket.Update(ctx, key, text, revision)
		}
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("write %s: %w", key, err)
}

// maxKey keeps a key well below what a subject may have.
const maxKey = 256

// key is where an entity is: <source>.<kind>.<identity>. An identity may be any
// text and a key may not, so what is no letter, digit, - or _ is =XX of its
// UTF-8 bytes. A very long one is the SHA-256 of it, in hexadecimal after "==".
func key(source, eventType, entity string) string {
	kind, _, _ := strings.Cut(eventType, ".")
	var b strings.Builder
	for i := range len(entity) {
		switch c := entity[i]; {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	encoded := b.String()
	if len(encoded) > maxKey {
		encoded = fmt.Sprintf("==%x", sha256.Sum256([]byte(entity)))
	}
	if source == "" {
		source = "-" // of another publisher
	}
	return source + "." + kind + "." + encoded
}
