package bridge

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// backlog counts the pending events of each source by the second in which they
// were accepted. That answers "how many" and "how old is the oldest" for a
// million of them in a few kilobytes, without a look at the journal.
//
// An event may be counted off before it is counted on: Run can have published
// it before Accept, which waited for the same commit, runs on. So a count may
// be negative for a moment; it is never reported so.
type backlog struct {
	mu      sync.Mutex
	sources map[string]*seconds
}

// seconds is sorted by time; an entry that comes to zero is dropped.
type seconds struct {
	total   int
	buckets []bucket
}

type bucket struct {
	second int64
	count  int
}

func newBacklog(sources []string) *backlog {
	b := &backlog{sources: make(map[string]*seconds)}
	for _, s := range sources {
		b.sources[s] = new(seconds)
	}
	return b
}

// add counts n events of a source, accepted at the same time, on or (n < 0) off.
func (b *backlog) add(source string, accepted time.Time, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sources[source]
	if s == nil {
		s = new(seconds)
		b.sources[source] = s
	}
	s.total += n
	second := accepted.Unix()
	i, found := slices.BinarySearchFunc(s.buckets, second, func(e bucket, second int64) int { return cmp.Compare(e.second, second) })
	if !found {
		s.buckets = slices.Insert(s.buckets, i, bucket{second: second})
	}
	s.buckets[i].count += n
	if s.buckets[i].count == 0 {
		s.buckets = slices.Delete(s.buckets, i, i+1)
	}
}

// pending is the number of pending events of a source.
func (b *backlog) pending(source string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.sources[source]; s != nil {
		return max(s.total, 0)
	}
	return 0
}

// total is the number of all pending events.
func (b *backlog) total() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, s := range b.sources {
		n += s.total
	}
	return max(n, 0)
}

// oldest is when the oldest pending event of a source was accepted, to the
// second; zero when there is none.
func (b *backlog) oldest(source string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.sources[source]; s != nil {
		for _, e := range s.buckets {
			if e.count > 0 {
				return time.Unix(e.second, 0)
			}
		}
	}
	return time.Time{}
}

// names are the sources counted, sorted.
func (b *backlog) names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := make([]string, 0, len(b.sources))
	for name := range b.sources {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
