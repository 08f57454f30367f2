package publisher

import (
	"strconv"
	"sync"
	"time"
)

// pendingAcks are the attempts that JetStream has not answered, by the token in their
// reply subject. nats.go keeps such a table too, with a timer, a future and a closure for
// each message; here one timer serves all, for all wait equally long.
type pendingAcks struct {
	timeout time.Duration
	expired func([]*attempt) // called without the lock

	expiring sync.Mutex // held while expired is called, so that close can wait for it

	mu      sync.Mutex
	closed  bool
	last    uint64 // the token that was given last
	byToken map[uint64]*attempt
	// queue has the tokens in the order of their deadlines; those before head are over,
	// and some behind it may be.
	queue []deadline
	head  int
	timer *time.Timer
}

type deadline struct {
	token uint64
	at    time.Time
}

func newPendingAcks(timeout time.Duration, expired func([]*attempt)) *pendingAcks {
	p := &pendingAcks{timeout: timeout, expired: expired, byToken: make(map[uint64]*attempt)}
	p.timer = time.AfterFunc(time.Hour, p.expire)
	p.timer.Stop()
	return p
}

// add gives an attempt its token; false when the connection has gone.
func (p *pendingAcks) add(a *attempt) (token uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, false
	}
	p.last++
	p.byToken[p.last] = a
	p.queue = append(p.queue, deadline{p.last, time.Now().Add(p.timeout)})
	if len(p.queue)-p.head == 1 {
		p.timer.Reset(p.timeout)
	}
	return p.last, true
}

// take ends the wait of an attempt, for whoever asks first; nil for all others.
func (p *pendingAcks) take(token uint64) *attempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.byToken[token]
	delete(p.byToken, token)
	p.trim()
	return a
}

// noteElsewhere notes that another JetStream acknowledged an attempt, which goes on waiting.
func (p *pendingAcks) noteElsewhere(token uint64, domain string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.byToken[token]; a != nil {
		a.elsewhere = &domain
	}
}

// trim drops what is over from the front of the queue.
func (p *pendingAcks) trim() {
	for p.head < len(p.queue) && p.byToken[p.queue[p.head].token] == nil {
		p.head++
	}
	switch {
	case p.head == len(p.queue):
		p.queue, p.head = p.queue[:0], 0
	case p.head > 1024 && p.head > len(p.queue)/2:
		p.queue, p.head = append(p.queue[:0], p.queue[p.head:]...), 0
	}
}

// expire ends the waits whose time is over.
func (p *pendingAcks) expire() {
	p.expiring.Lock()
	defer p.expiring.Unlock()
	p.mu.Lock()
	var over []*attempt
	for now := time.Now(); p.head < len(p.queue) && !p.queue[p.head].at.After(now); p.head++ {
		token := p.queue[p.head].token
		if a := p.byToken[token]; a != nil {
			delete(p.byToken, token)
			over = append(over, a)
		}
	}
	p.trim()
	if p.head < len(p.queue) && !p.closed {
		p.timer.Reset(max(time.Until(p.queue[p.head].at), time.Millisecond))
	}
	p.mu.Unlock()
	if len(over) > 0 {
		p.expired(over)
	}
}

// close returns all attempts, and takes no more. No wait expires after it.
func (p *pendingAcks) close() []*attempt {
	p.expiring.Lock()
	defer p.expiring.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.timer.Stop()
	var rest []*attempt
	for ; p.head < len(p.queue); p.head++ {
		if a := p.byToken[p.queue[p.head].token]; a != nil {
			rest = append(rest, a)
		}
	}
	p.byToken, p.queue, p.head = nil, nil, 0
	return rest
}

// tokenText and tokenOf write a token as the last part of a subject, and read it.
func tokenText(b []byte, token uint64) []byte { return strconv.AppendUint(b, token, 36) }

func tokenOf(subject string, prefix int) (uint64, bool) {
	if len(subject) <= prefix {
		return 0, false
	}
	token, err := strconv.ParseUint(subject[prefix:], 36, 64)
	return token, err == nil
}
