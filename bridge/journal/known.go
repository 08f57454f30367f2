package journal

import (
	"errors"
	"sync"

	"github.com/bits-and-blooms/bloom/v3"
	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"
)

// known says of most keys that they are surely not taken. Nearly every delivery id
// is new; to be sure of that the store would have to look into each of its tables,
// which costs more than all the rest of an append. It is a Bloom filter over the
// seen keys, learned from the store at the start and added to since: two bytes a
// key, and it wrongly suspects one new key in a thousand, which then costs that
// look. It never overlooks a key.
type known struct {
	mu     sync.Mutex
	filter *bloom.BloomFilter // nil until the first is learned: any key may be taken
	next   *bloom.BloomFilter // being learned; else nil
	added  uint64             // to filter
	room   uint64             // in filter
}

const (
	// minKnown is the number of keys that a filter has room for at least.
	minKnown = 1 << 20
	// maxKnown bounds its memory, to a quarter of a gigabyte; with more keys it
	// suspects more.
	maxKnown = 1 << 27
	// suspicion is how often a new key may seem taken.
	suspicion = 0.001
	// learnChunk is how many keys are learned at a time.
	learnChunk = 200
)

// mayHave reports false of a key that is surely not taken.
func (k *known) mayHave(key []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.filter == nil || k.filter.Test(key)
}

// add takes keys that have been written to the store: written before, so that a
// filter being learned meanwhile finds them there or gets them here. It reports
// true when a filter with more room has to be learned.
func (k *known) add(keys []string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range []*bloom.BloomFilter{k.filter, k.next} {
		if f != nil {
			for _, key := range keys {
				f.AddString(key)
			}
		}
	}
	k.added += uint64(len(keys))
	return k.filter != nil && k.next == nil && k.added > k.room && k.room < maxKnown
}

// keys is how many the filter has.
func (k *known) keys() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.added
}

// learn begins a filter with room for so many keys; unless one is being learned.
func (k *known) learn(room uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next != nil {
		return false
	}
	k.next = bloom.NewWithEstimates(uint(room), suspicion)
	return true
}

// learned puts the new filter, which has so many keys, in the place of the old one;
// or, when learning has failed, drops it.
func (k *known) learned(keys, room uint64, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ok {
		k.filter, k.added, k.room = k.next, keys, room
	}
	k.next = nil
}

// learnKnown makes a filter of all the keys in the store. It runs beside the appends,
// which look into the store meanwhile, or use the filter before.
func (j *Journal) learnKnown() {
	room := uint64(minKnown)
	if next, trimmed := j.durable.Load(), metaTrimmed.readable(j); next > trimmed {
		room = max(room, 2*(next-trimmed))
	}
	room = min(max(room, 2*j.known.keys()), maxKnown)
	if !j.known.learn(room) {
		return
	}
	n, err := j.learnKeys()
	j.known.learned(n, room, err == nil)
	if err != nil && !errors.Is(err, ErrClosed) {
		j.o.Log.Warn("delivery ids are looked up without a filter, which is slower", zap.Error(err))
	}
}

func (j *Journal) learnKeys() (n uint64, err error) {
	it, err := j.newIter(&pebble.IterOptions{LowerBound: []byte{prefixSeen}, UpperBound: []byte{prefixSeen + 1}})
	if err != nil {
		return 0, err
	}
	defer it.Close()
	for more := it.First(); more; {
		select {
		case <-j.stop:
			return n, ErrClosed
		default:
		}
		j.known.mu.Lock()
		for range learnChunk {
			j.known.next.Add(it.Key()[1:])
			n++
			if more = it.Next(); !more {
				break
			}
		}
		j.known.mu.Unlock()
	}
	return n, it.Error()
}
