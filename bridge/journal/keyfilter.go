package journal

import (
	"errors"
	"sync"

	"github.com/bits-and-blooms/bloom/v3"
	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"
)

// keyFilter tells that a key is surely not taken. Nearly every delivery id is new, and to
// find out the store would search each of its tables, which costs more than the rest of
// an append. It is a Bloom filter over the seen keys, built from the store at the start and
// added to since: two bytes a key. One new key in a thousand is a false positive, which
// costs that search. A taken key is never missed.
type keyFilter struct {
	mu      sync.Mutex
	current *bloom.BloomFilter // nil until the first is built: any key may be taken
	next    *bloom.BloomFilter // being built; else nil
	added   uint64             // keys in current
	room    uint64             // keys for which current is large enough
}

const (
	// minFilterKeys is the number of keys for which a filter has room at least.
	minFilterKeys = 1 << 20
	// maxFilterKeys bounds the memory of a filter to a quarter of a gigabyte; with more
	// keys it has more false positives.
	maxFilterKeys = 1 << 27
	// falsePositives is the share of new keys that may seem taken.
	falsePositives = 0.001
	// buildChunk is how many keys are added under one lock while a filter is built.
	buildChunk = 200
)

// mayHave reports false of a key that is surely not taken.
func (k *keyFilter) mayHave(key []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current == nil || k.current.Test(key)
}

// add takes keys that have been written to the store. The write comes first, so that a
// filter that is being built finds them there or gets them here. It reports true when a
// larger filter has to be built.
func (k *keyFilter) add(keys []string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range []*bloom.BloomFilter{k.current, k.next} {
		if f != nil {
			for _, key := range keys {
				f.AddString(key)
			}
		}
	}
	k.added += uint64(len(keys))
	return k.current != nil && k.next == nil && k.added > k.room && k.room < maxFilterKeys
}

// len is the number of keys in the filter.
func (k *keyFilter) len() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.added
}

// begin makes a next filter with room for so many keys, unless one is being built.
func (k *keyFilter) begin(room uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next != nil {
		return false
	}
	k.next = bloom.NewWithEstimates(uint(room), falsePositives)
	return true
}

// end makes the next filter, which has so many keys, the current one; or drops it when
// the build went wrong.
func (k *keyFilter) end(keys, room uint64, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ok {
		k.current, k.added, k.room = k.next, keys, room
	}
	k.next = nil
}

// buildKeyFilter builds a filter of all keys in the store. It runs beside the appends,
// which use the store, or the filter before, until it is done.
func (j *Journal) buildKeyFilter() {
	room := j.o.filterKeys
	if next, trimmed := j.durable.Load(), metaTrimmed.readable(j); next > trimmed {
		room = max(room, 2*(next-trimmed))
	}
	room = min(max(room, 2*j.keyFilter.len()), maxFilterKeys)
	if !j.keyFilter.begin(room) {
		return
	}
	n, err := j.addStoredKeys()
	j.keyFilter.end(n, room, err == nil)
	if err != nil && !errors.Is(err, ErrClosed) {
		j.o.Log.Warn("delivery ids are looked up without a filter, which is slower", zap.Error(err))
	}
}

func (j *Journal) addStoredKeys() (n uint64, err error) {
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
		j.keyFilter.mu.Lock()
		for range buildChunk {
			j.keyFilter.next.Add(it.Key()[1:])
			n++
			if more = it.Next(); !more {
				break
			}
		}
		j.keyFilter.mu.Unlock()
	}
	return n, it.Error()
}
