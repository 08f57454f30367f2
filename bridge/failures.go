package bridge

import (
	"slices"
	"sync"
	"time"
)

// FailedAttempt is an attempt to publish an event that failed.
type FailedAttempt struct {
	At time.Time `json:"at"`
	// Class is link_down, held, rejected, unknown or, of a batch, undecided.
	Class  string `json:"class"`
	Reason string `json:"reason"`
	// ReasonCode and ReasonParams are as in Record.
	ReasonCode   string            `json:"reason_code,omitempty"`
	ReasonParams map[string]string `json:"reason_params,omitempty"`
}

const (
	// maxFailing bounds the records whose failed attempts are remembered, and
	// maxFailures those of one record.
	maxFailing  = 2000
	maxFailures = 20
)

// failures remembers the newest failed attempts of the records that failed last, for
// people: nothing is decided by them, and a restart forgets them.
type failures struct {
	mu       sync.Mutex
	byRecord map[uint64][]FailedAttempt
	order    []uint64 // the records, the one that failed first at the front
	last     *FailedAttempt
}

func (f *failures) add(record uint64, a FailedAttempt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byRecord == nil {
		f.byRecord = make(map[uint64][]FailedAttempt)
	}
	f.last = &a
	list, known := f.byRecord[record]
	if !known {
		if len(f.order) == maxFailing {
			delete(f.byRecord, f.order[0])
			f.order = slices.Delete(f.order, 0, 1)
		}
		f.order = append(f.order, record)
	}
	if len(list) == maxFailures {
		list = slices.Delete(list, 0, 1)
	}
	f.byRecord[record] = append(list, a)
}

// of returns the failed attempts of a record, the oldest first.
func (f *failures) of(record uint64) []FailedAttempt {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.byRecord[record])
}

// newest is the attempt that failed last; nil when none has.
func (f *failures) newest() *FailedAttempt {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}
