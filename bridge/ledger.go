package bridge

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/persat-bridge/persat-bridge/bridge/integrity"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// ledger is the journal as integrity sees it. It is safe for concurrent use.
type ledger struct {
	*journal.Journal

	mu       sync.Mutex
	observed integrity.Observation // newer than what the journal has, by less than a minute
	written  integrity.Observation // what the journal has
}

var _ integrity.Ledger = (*ledger)(nil)

// Identity implements integrity.Ledger.
func (l *ledger) Identity() (string, error) { return l.Stream() }

// Observed implements integrity.Ledger.
func (l *ledger) Observed() (integrity.Observation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.observed != (integrity.Observation{}) {
		return l.observed, nil
	}
	text, err := l.Journal.Observed()
	if err != nil || text == "" {
		return l.observed, err
	}
	if err := json.Unmarshal([]byte(text), &l.observed); err != nil {
		return integrity.Observation{}, nil // nothing is known: then missing messages need another explanation
	}
	l.written = l.observed
	return l.observed, nil
}

// observe notes how the stream is. What follows from it has been written before. The
// journal is told of changes, and once a minute of the time.
func (l *ledger) observe(o integrity.Observation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.observed = o
	same := o
	same.At = l.written.At
	if same == l.written && o.At.Sub(l.written.At).Minutes() < 1 {
		return nil
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	l.written = o
	return l.NoteObserved(string(text))
}

// Newest implements integrity.Ledger.
func (l *ledger) Newest(below uint64, n int) ([]integrity.Place, error) {
	return places(l.PositionsBelow(below, n))
}

// From implements integrity.Ledger.
func (l *ledger) From(seq uint64, n int) ([]integrity.Place, error) {
	return places(l.PositionsFrom(seq, n))
}

func places(positions []journal.StreamPosition, err error) ([]integrity.Place, error) {
	all := make([]integrity.Place, len(positions))
	for i, p := range positions {
		all[i] = integrity.Place{Seq: p.StreamSeq, Record: p.Seq}
	}
	return all, err
}

// Record implements integrity.Ledger. Subjects of events are told apart by source and
// type, and entities as for the order, by source, kind and id.
func (l *ledger) Record(p integrity.Place) (r integrity.Record, known bool, err error) {
	item, err := l.Published(p.Record)
	if errors.Is(err, journal.ErrNotFound) || journal.Damaged(err) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	e, err := parseHeader(item.Header)
	if err != nil || item.StreamSeq != p.Seq {
		return r, false, err
	}
	r = integrity.Record{ID: e.MessageID(), Subject: e.Source + "." + e.Type, Marked: item.At, Size: e.Size}
	kind, _, _ := strings.Cut(e.Type, ".")
	for _, id := range e.Entities {
		r.Entities = append(r.Entities, e.Source+"."+kind+"/"+id)
	}
	if len(r.Entities) == 0 {
		r.Entities = []string{r.Subject}
	}
	return r, true, nil
}

// Unsent implements integrity.Ledger.
func (l *ledger) Unsent(id string) (record uint64, ok bool, err error) {
	item, ok, err := l.PendingByKey(id)
	if journal.Damaged(err) {
		return 0, false, nil
	}
	if err != nil || !ok {
		return 0, false, err
	}
	e, err := parseHeader(item.Header)
	return item.Seq, err == nil && e.MessageID() == id, err
}

// HasUnsent implements integrity.Ledger.
func (l *ledger) HasUnsent() (bool, error) {
	for _, err := range l.AllPending() {
		return err == nil, err
	}
	return false, nil
}
