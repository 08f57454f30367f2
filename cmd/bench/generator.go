package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// load is a sender with many connections: each posts signed events one after the
// other, every one under an id of its own, and reads the answers. It writes HTTP/1.1
// by hand: net/http's client takes more of the machine than any server here, and
// the ratios would speak of it instead of them.
type load struct {
	address     string
	paths       []string // a source each; connections are spread over them
	connections int
	// rate is in requests a second over all connections; 0 is as fast as answers come.
	rate float64
	// entities is how many different work orders the events are of.
	entities int
	// inARow is how many events of one work order a connection posts before it goes on to the
	// next; 0 is one.
	inARow int
	// due, when it is not nil, takes when each event was due, by the prefix of its
	// delivery id.
	due map[string]*dueTimes
}

// dueTimes are when the events of one connection were due: the first, and from one to
// the next.
type dueTimes struct {
	first time.Time
	gap   time.Duration
}

func (d *dueTimes) of(n int) time.Time { return d.first.Add(time.Duration(n) * d.gap) }

// bodyBytes is the size of a posted body.
const bodyBytes = 2048

// secret signs everything that is posted here.
const secret = "whsec_YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gt"

// outcome is what a load saw.
type outcome struct {
	accepted  int
	elapsed   time.Duration
	latencies []time.Duration // sorted
}

func newOutcome(latencies []time.Duration, elapsed time.Duration) outcome {
	slices.Sort(latencies)
	return outcome{accepted: len(latencies), elapsed: elapsed, latencies: latencies}
}

func (o outcome) perSecond() float64 { return float64(o.accepted) / o.elapsed.Seconds() }

func (o outcome) quantile(q float64) time.Duration {
	if len(o.latencies) == 0 {
		return 0
	}
	return o.latencies[min(int(q*float64(len(o.latencies))), len(o.latencies)-1)]
}

// run posts for so long, or, when atMost is not 0, so many events at most.
func (l load) run(ctx context.Context, long time.Duration, atMost int) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	posters := make([]*poster, l.connections)
	for i := range posters {
		p, err := newPoster(l, i)
		if err != nil {
			return outcome{}, err
		}
		defer p.conn.Close()
		posters[i] = p
	}
	var group sync.WaitGroup
	begin := time.Now()
	for _, p := range posters {
		if l.due != nil {
			l.due[p.prefix] = &dueTimes{p.due(begin), p.gap()}
		}
	}
	for i, p := range posters {
		group.Go(func() {
			share := 0
			if atMost > 0 {
				if share = atMost / l.connections; i < atMost%l.connections {
					share++
				}
			}
			p.err = p.post(ctx, begin, share)
		})
	}
	group.Wait()
	elapsed := time.Since(begin)
	var latencies []time.Duration
	for _, p := range posters {
		if p.err != nil {
			return outcome{}, fmt.Errorf("post to %s: %w", l.address, p.err)
		}
		latencies = append(latencies, p.latencies...)
	}
	return newOutcome(latencies, elapsed), nil
}

// poster is one connection.
type poster struct {
	l         load
	number    int
	conn      net.Conn
	in        *bufio.Reader
	mac       hash.Hash
	prefix    string // of its delivery ids
	body      []byte
	entity    []byte // the part of body that names the entity
	request   []byte
	latencies []time.Duration
	err       error
}

var newPrefix = func() func() string {
	var mu sync.Mutex
	n := 0
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprintf("msg_%d_%d_", time.Now().UnixNano(), n)
	}
}()

func newPoster(l load, number int) (*poster, error) {
	key, err := base64.StdEncoding.DecodeString(secret[len("whsec_"):])
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		return nil, err
	}
	body, err := newBody()
	if err != nil {
		return nil, err
	}
	at := bytes.Index(body, []byte(entityPlaceholder))
	return &poster{
		l: l, number: number, conn: conn, in: bufio.NewReaderSize(conn, 4096), mac: hmac.New(sha256.New, key),
		prefix: newPrefix(), body: body, entity: body[at : at+len(entityPlaceholder)],
	}, nil
}

const entityPlaceholder = "WO-0000000"

// newBody is a finished work order as Persat sends it, with the notes that make it
// bodyBytes long.
func newBody() ([]byte, error) {
	body, err := persat.Sample("workorder.finished", entityPlaceholder)
	if err != nil {
		return nil, err
	}
	const member = `"FWbench":"`
	at := bytes.LastIndex(body, []byte(`"formvalues":{`)) + len(`"formvalues":{`)
	fill := bodyBytes - len(body) - len(member) - len(`",`)
	if at < 20 || fill < 0 {
		return nil, fmt.Errorf("the sample of workorder.finished has %d bytes and no place for more", len(body))
	}
	const words = "Se cambió la válvula de la caldera y se purgó el circuito; queda en observación hasta la próxima visita. "
	text := make([]byte, 0, fill)
	for len(text) < fill {
		text = append(text, words...)
	}
	text = bytes.ToValidUTF8(text[:fill], []byte("."))
	whole := slices.Concat(body[:at], []byte(member), text, []byte(`",`), body[at:])
	return whole, nil
}

// gap is the time between two events of this connection; 0 when there is no rate.
func (p *poster) gap() time.Duration {
	if p.l.rate == 0 {
		return 0
	}
	return time.Duration(float64(p.l.connections) / p.l.rate * float64(time.Second))
}

// due is when its first event is.
func (p *poster) due(begin time.Time) time.Time {
	return begin.Add(p.gap() * time.Duration(p.number) / time.Duration(p.l.connections))
}

// post sends until ctx ends or, when that is not 0, share events have been taken.
func (p *poster) post(ctx context.Context, begin time.Time, share int) error {
	path := p.l.paths[p.number%len(p.l.paths)]
	head := "POST " + path + " HTTP/1.1\r\nHost: " + p.l.address + "\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(p.body)) + "\r\n"
	gap, due := p.gap(), p.due(begin)
	end, _ := ctx.Deadline()
	for n := 0; share == 0 || n < share; n++ {
		if gap > 0 {
			time.Sleep(time.Until(due))
		}
		start := time.Now()
		if start.After(end) || n%64 == 0 && ctx.Err() != nil {
			break
		}
		if gap > 0 {
			// From when it should have been sent: a server that stalls is not asked less often.
			start, due = due, due.Add(gap)
		}
		number := (n/max(p.l.inARow, 1)*p.l.connections + p.number) % p.l.entities
		for i := len(p.entity) - 1; i >= len(p.entity)-7; i-- {
			p.entity[i] = byte('0' + number%10)
			number /= 10
		}
		p.sign(head, n)
		if _, err := p.conn.Write(p.request); err != nil {
			return err
		}
		if err := p.answer(); err != nil {
			return err
		}
		p.latencies = append(p.latencies, time.Since(start))
	}
	return nil
}

// sign writes the whole request.
func (p *poster) sign(head string, n int) {
	r := append(p.request[:0], head...)
	r = append(r, "svix-id: "...)
	idAt := len(r)
	r = append(r, p.prefix...)
	r = strconv.AppendInt(r, int64(n), 10)
	id := r[idAt:]
	r = append(r, "\r\nsvix-timestamp: "...)
	timeAt := len(r)
	r = strconv.AppendInt(r, time.Now().Unix(), 10)
	timestamp := r[timeAt:]
	p.mac.Reset()
	var text [128]byte
	signed := append(append(append(append(text[:0], id...), '.'), timestamp...), '.')
	p.mac.Write(signed)
	p.mac.Write(p.body)
	var sum [sha256.Size]byte
	r = append(r, "\r\nsvix-signature: v1,"...)
	r = base64.StdEncoding.AppendEncode(r, p.mac.Sum(sum[:0]))
	r = append(r, "\r\n\r\n"...)
	p.request = append(r, p.body...)
}

// answer reads one, which must be a 202.
func (p *poster) answer() error {
	line, err := p.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 12 || string(line[9:12]) != "202" {
		rest := make([]byte, p.in.Buffered())
		_, _ = io.ReadFull(p.in, rest)
		return fmt.Errorf("got %q, want 202", append(bytes.Clone(line), rest...))
	}
	length := -1
	for {
		line, err := p.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without Content-Length")
	}
	_, err = p.in.Discard(length)
	return err
}
