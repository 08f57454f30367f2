package sim

import (
	"fmt"
	"time"
)

// What operators and accidents do to the server. None of these waits.

// stop ends the server; start brings it back with all that it had.
func (n *server) stop() {
	n.mu.Lock()
	n.up, n.paused, n.waiting = false, false, nil
	n.mu.Unlock()
	n.cutSessions()
}

func (n *server) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up && n.stream != nil {
		n.stream.restart(time.Now())
	}
	if !n.up {
		n.starts++
		// What was removed just before may look as if the server had lost it.
		n.shaken = n.shaken || n.stream != nil && len(n.stream.ended) > 0
	}
	n.up = true
}

func (n *server) pause() { n.set(func() { n.paused = n.up }) }

// resume works off what came while the server was paused, in order.
func (n *server) resume() {
	n.set(func() {
		n.paused = false
		for _, a := range n.waiting {
			a.take()
		}
		n.waiting = nil
	})
}

// losePower takes the newest messages. The server is down, or the stream lives on another
// one, behind this connection.
func (n *server) losePower(messages int, keepLast bool) {
	n.set(func() {
		if n.stream == nil {
			return
		}
		after := n.stream.last
		for _, seq := range n.stream.sequences() {
			if len(n.stream.messages) == 0 {
				break
			}
			if seq > 0 && messages >= n.stream.behind(seq) {
				after = min(after, seq-1)
			}
		}
		n.waiting, n.shaken = nil, true
		n.starts++
		lost := n.stream.losePower(after, keepLast, time.Now())
		n.log("the stream loses %d messages behind %d, its last sequence is %d", lost, after, n.stream.last)
	})
}

// loseBlock takes some messages out of the middle.
func (n *server) loseBlock(messages int) {
	n.set(func() {
		if n.stream == nil || len(n.stream.messages) < messages+2 {
			return
		}
		n.shaken = true
		all := n.stream.sequences()
		from := 1 + n.rng.IntN(len(all)-messages-1)
		lost := n.stream.loseBlock(all[from], all[from+messages-1], time.Now())
		n.log("the stream loses %d messages from %d on", lost, all[from])
	})
}

// behind is how many messages there are from a sequence on.
func (s *stream) behind(seq uint64) (n int) {
	for other := range s.messages {
		if other >= seq {
			n++
		}
	}
	return n
}

// recreate deletes the stream and makes it again, empty.
func (n *server) recreate() {
	n.set(func() {
		n.drop()
		n.stream = newStream(time.Now(), n.duplicates)
	})
}

// drop deletes it. n.mu is held.
func (n *server) drop() {
	if n.stream == nil {
		return
	}
	n.shaken = true
	for _, seq := range n.stream.sequences() {
		n.stream.end(seq, dropped)
	}
	n.stream = nil
}

// rename gives the stream another identity, as a restore from a backup does.
func (n *server) rename() {
	n.set(func() {
		if n.stream != nil {
			n.starts++
			n.shaken = true
			n.stream.created = time.Now()
			n.stream.restart(time.Now())
		}
	})
}

// strangers publish to the stream, with ids of their own or none.
func (n *server) strangers(count int) {
	n.set(func() {
		if n.stream == nil {
			return
		}
		for range count {
			n.foreign++
			m := &message{subject: "persat.strange", body: []byte("{}"), at: time.Now()}
			if n.foreign%2 == 0 {
				m.id = fmt.Sprintf("stranger:%d", n.foreign)
			}
			n.stream.publish(m)
		}
	})
}

// purge and removeNewest are an operator's.
func (n *server) purge(subject string) {
	n.set(func() {
		if n.stream != nil {
			n.log("%d messages of subject %q are purged", n.stream.purge(subject), subject)
		}
	})
}

func (n *server) removeNewest(count int) {
	n.set(func() {
		if n.stream == nil {
			return
		}
		// With a process that the bridge has not seen it looks as if the server had lost them.
		n.shaken = n.shaken || n.observed != n.starts
		all := n.stream.sequences()
		for _, seq := range all[max(len(all)-count, 0):] {
			n.stream.remove(seq)
		}
	})
}

func (n *server) limit(maxMessages, maxPerSubject int, discardNew bool) {
	n.set(func() {
		if n.stream != nil {
			n.stream.maxMessages, n.stream.maxPerSubject, n.stream.discardNew = maxMessages, maxPerSubject, discardNew
			n.stream.enforce()
		}
	})
}

// repair ends everything that an operator can end.
func (n *server) repair() {
	n.start()
	n.resume()
	n.set(func() {
		n.electing, n.full, n.ackLoss, n.latency, n.crowded = false, false, 0, 2*time.Millisecond, false
		clear(n.denied)
		if n.stream == nil {
			n.stream = newStream(time.Now(), n.duplicates)
		}
		if n.stream.discardNew {
			n.stream.maxMessages = 0
		}
	})
}

func (n *server) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}
