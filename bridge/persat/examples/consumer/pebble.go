package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// pebbleLedger is a ledger in a directory, for a service that has no database: it
// needs no server.
//
//	seen/<source> <id>                   when, Unix seconds
//	history/<kind>/<entity>/<number>     an entry
//	aside/<sequence>                     a message that cannot be handled
type pebbleLedger struct{ db *pebble.DB }

var _ ledger = (*pebbleLedger)(nil)

// entry is the effect of one event on one entity.
type entry struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	State    string `json:"state,omitempty"`
	Sequence uint64 `json:"sequence"`
}

// aside is a message that cannot be handled, and why.
type aside struct {
	Reason string `json:"reason"`
	Data   []byte `json:"data"`
}

// openPebble opens or makes the ledger in dir, which it locks: two processes with
// one ledger would not know of each other's effects.
func openPebble(dir string) (*pebbleLedger, error) {
	db, err := pebble.Open(dir, &pebble.Options{Logger: quiet{}})
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", dir, err)
	}
	return &pebbleLedger{db}, nil
}

func (l *pebbleLedger) close() error { return l.db.Close() }

// record writes the effect and the id as one batch, synced before record returns, so
// there is no moment at which a crash leaves one without the other.
func (l *pebbleLedger) record(id string, event *persat.Event, sequence uint64) (fresh bool, err error) {
	seen := []byte("seen/" + id)
	switch _, closer, err := l.db.Get(seen); {
	case err == nil:
		return false, closer.Close()
	case !errors.Is(err, pebble.ErrNotFound):
		return false, fmt.Errorf("look up id: %w", err)
	}
	// Indexed: a bulk event may name an entity twice, and must count on from its
	// own first entry.
	batch := l.db.NewIndexedBatch()
	defer batch.Close()
	for _, s := range event.Snapshots() {
		if err := add(batch, historyOf(event.Kind, s.Entity), entry{id, event.Type, s.State, sequence}); err != nil {
			return false, err
		}
	}
	if err := batch.Set(seen, binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix())), nil); err != nil {
		return false, fmt.Errorf("write id: %w", err)
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return false, fmt.Errorf("commit: %w", err)
	}
	return true, nil
}

// historyOf is where the entries of an entity are. Its identity may be any text.
func historyOf(kind persat.Kind, entity string) []byte {
	return []byte("history/" + string(kind) + "/" + url.PathEscape(entity) + "/")
}

// add appends an entry to a history.
func add(batch *pebble.Batch, history []byte, e entry) error {
	entries, err := batch.NewIter(below(history))
	if err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	number := uint64(0)
	if entries.Last() {
		number = binary.BigEndian.Uint64(entries.Key()[len(history):]) + 1
	}
	if err := entries.Close(); err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	value, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return batch.Set(binary.BigEndian.AppendUint64(history, number), value, nil)
}

// below bounds an iterator to the keys that begin with prefix, which ends in a
// slash.
func below(prefix []byte) *pebble.IterOptions {
	end := append([]byte{}, prefix...)
	end[len(end)-1]++
	return &pebble.IterOptions{LowerBound: prefix, UpperBound: end}
}

func (l *pebbleLedger) putAside(sequence uint64, data []byte, reason string) error {
	value, err := json.Marshal(aside{reason, data})
	if err != nil {
		return err
	}
	if err := l.db.Set(binary.BigEndian.AppendUint64([]byte("aside/"), sequence), value, pebble.Sync); err != nil {
		return fmt.Errorf("put message aside: %w", err)
	}
	return nil
}

func (l *pebbleLedger) forget(before time.Time) error {
	ids, err := l.db.NewIter(below([]byte("seen/")))
	if err != nil {
		return fmt.Errorf("read ids: %w", err)
	}
	batch := l.db.NewBatch()
	defer batch.Close()
	for ids.First(); ids.Valid(); ids.Next() {
		if binary.BigEndian.Uint64(ids.Value()) < uint64(before.Unix()) {
			if err := batch.Delete(ids.Key(), nil); err != nil {
				return errors.Join(err, ids.Close())
			}
		}
	}
	if err := ids.Close(); err != nil {
		return fmt.Errorf("read ids: %w", err)
	}
	return batch.Commit(pebble.Sync)
}

// quiet keeps Pebble's notices out of the consumer's log.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}
