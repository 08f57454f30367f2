package webhook

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// deadlined is a ResponseWriter that notes its read deadline.
type deadlined struct {
	http.ResponseWriter
	past bool
}

func (d *deadlined) SetReadDeadline(t time.Time) error {
	d.past = t.Before(time.Now())
	return nil
}

// Whose place is taken when there is none left.
func TestReadingsEvict(t *testing.T) {
	one, two, three := networkOf("192.0.2.1"), networkOf("198.51.100.1"), networkOf("2001:db8::1")
	tests := []struct {
		name string
		from []netip.Prefix // of the readings, the oldest first; the last one is too many
		want int            // index of the one that is cut
	}{
		{"one network alone: its oldest", []netip.Prefix{one, one, one, one}, 0},
		{"the network that has most, not the oldest", []netip.Prefix{one, two, two, one, two, one}, 1},
		{"a newcomer does not pay for a crowd", []netip.Prefix{three, two, two, two, one}, 1},
		{"a crowd pays for itself", []netip.Prefix{three, two, two, two, two}, 1},
		{"as many of each: the oldest of all", []netip.Prefix{three, two, one, one}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rs := newReadings(len(tt.from) - 1)
			var all []*reading
			var writers []*deadlined
			for i, network := range tt.from {
				r, w := new(reading), new(deadlined)
				from, cut := rs.begin(r, network, w)
				if last := i == len(tt.from)-1; cut != last {
					t.Errorf("reading %d: cut another: %t, want %t", i, cut, last)
				} else if last && from != tt.from[tt.want] {
					t.Errorf("cut one of %v, want %v", from, tt.from[tt.want])
				}
				all, writers = append(all, r), append(writers, w)
			}
			for i, r := range all {
				want := byClient
				if i == tt.want {
					want = evicted
				}
				if writers[i].past != (i == tt.want) {
					t.Errorf("reading %d: its deadline is past: %t", i, writers[i].past)
				}
				if got := rs.end(r); got != want {
					t.Errorf("reading %d: ended %d, want %d", i, got, want)
				}
			}
			if rs.count != 0 || rs.newest != nil || len(rs.byNetwork) != 0 {
				t.Errorf("left behind: %d, %v, %v", rs.count, rs.newest, rs.byNetwork)
			}
		})
	}
}

// The ring, the count and the counts by network agree, whatever happens in which order.
func TestReadingsHoldTogether(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	rs := newReadings(8)
	var open []*reading
	for step := range 5000 {
		switch n := random.IntN(10); {
		case n < 5:
			r := new(reading)
			rs.begin(r, networkOf(fmt.Sprintf("10.0.%d.1", random.IntN(4))), new(deadlined))
			open = append(open, r)
		case n < 9 && len(open) > 0:
			i := random.IntN(len(open))
			rs.end(open[i])
			open = append(open[:i], open[i+1:]...)
		default:
			rs.tick()
		}
		networks := make(map[netip.Prefix]int)
		in := 0
		for i, r := 0, rs.newest; i < rs.count; i, r = i+1, r.prev {
			networks[r.network]++
			in++
			if r.next.prev != r {
				t.Fatalf("step %d: the ring is broken", step)
			}
		}
		waiting := 0
		for _, r := range open {
			if r.ended == byClient {
				waiting++
			}
		}
		if in > rs.limit || in != waiting || fmt.Sprint(networks) != fmt.Sprint(rs.byNetwork) {
			t.Fatalf("step %d: %d in the ring, %d open, limit %d, by network %v, counted %v", step, in, waiting, rs.limit, networks, rs.byNetwork)
		}
	}
}

// A body that brings nothing for some seconds is not waited for; one that brings a
// little is, up to its deadline.
func TestReadingsEndSilence(t *testing.T) {
	rs := newReadings(8)
	mute, slow := new(reading), new(reading)
	rs.begin(mute, netip.Prefix{}, new(deadlined))
	rs.begin(slow, netip.Prefix{}, new(deadlined))
	for range silentTicks + 1 {
		slow.bytes.Add(1)
		rs.tick()
	}
	if got := rs.end(mute); got != silent {
		t.Errorf("without a byte: ended %d, want %d", got, silent)
	}
	if got := rs.end(slow); got != byClient {
		t.Errorf("with some bytes: ended %d, want %d", got, byClient)
	}
}

// A stranger that sent its bodies slowly once held every slot, over 1,100 connections or
// over six of HTTP/2: each delivery got a 503, readyz said 200 and the log nothing.
func TestDeliveriesPassSlowStrangers(t *testing.T) {
	const places, strangers = 32, 96
	slow := func(f *fixture, started chan<- struct{}) {
		f.t.Helper()
		address, _ := f.serving(nil)
		for range strangers {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				f.t.Fatal(err)
			}
			f.t.Cleanup(func() { conn.Close() })
			fmt.Fprint(conn, "POST /webhooks/persat HTTP/1.1\r\nHost: bridge.example.com\r\nContent-Length: 1000\r\n\r\n{")
		}
		close(started)
	}
	streams := func(f *fixture, started chan<- struct{}) {
		f.t.Helper()
		address, _ := f.servingTLS()
		for range 6 {
			client := f.transportTLS()
			for range strangers / 6 {
				body, write := io.Pipe()
				r, err := http.NewRequest("POST", "https://"+address+"/webhooks/persat", body)
				if err != nil {
					f.t.Fatal(err)
				}
				f.group.Go(func() {
					if res, err := client.RoundTrip(r); err == nil {
						res.Body.Close()
					}
				})
				f.group.Go(func() { write.Write([]byte("{")) })
				f.t.Cleanup(func() { write.CloseWithError(context.Canceled); body.CloseWithError(context.Canceled) })
			}
		}
		close(started)
	}
	for name, attack := range map[string]func(*fixture, chan<- struct{}){"many connections": slow, "six HTTP/2 connections": streams} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{MaxInFlight: 4})
			f.readings.limit = places
			t.Cleanup(f.group.Wait)
			started := make(chan struct{})
			attack(f, started)
			<-started
			testwait.Eventually(t, "the places fill, as connections are accepted", f.crowded)
			for i := range 20 {
				if got := f.do(signed(t, secretA, fmt.Sprint("msg_", i), time.Now(), event)); got.code != 202 {
					t.Errorf("delivery %d: got %d %s, want 202", i, got.code, got.err)
				}
			}
		})
	}
}

func (f *fixture) crowded() bool {
	f.readings.mu.Lock()
	defer f.readings.mu.Unlock()
	return f.readings.count == f.readings.limit
}

// The rate limit is for the sender. A stranger without a secret once used it up, and the
// sender got 429.
func TestStrangersDoNotUseUpTheRate(t *testing.T) {
	f := newFixture(t, Options{Sources: []Source{{Name: "persat", Auth: AuthSvix, Secrets: []string{secretA}, RateLimit: 3}}})
	for i := range 30 {
		if got := f.do(request(event)); got.code != 400 {
			t.Fatalf("stranger's request %d: got %d, want 400", i, got.code)
		}
	}
	for i := range 3 {
		if got := f.do(signed(t, secretA, fmt.Sprint("msg_", i), time.Now(), event)); got.code != 202 {
			t.Errorf("delivery %d: got %d, want 202", i, got.code)
		}
	}
}

// A limit that is met for seconds is one line, one notice, and one line at its end.
func TestOverload(t *testing.T) {
	type tick = bool // whether the limit was met in that second
	tests := []struct {
		name  string
		ticks []tick
		want  []string
	}{
		{"a burst", []tick{true, true, false, false, false, true, true}, nil},
		{"three seconds", []tick{true, true, true}, []string{"warn"}},
		{"for long", append(seconds(true, 30), seconds(false, 5)...), []string{"warn"}},
		{"with a pause", append(append(seconds(true, 5), seconds(false, 8)...), true, true), []string{"warn"}},
		{"and its end", append(seconds(true, 4), seconds(false, 12)...), []string{"warn", "info"}},
		{"twice", append(append(append(seconds(true, 4), seconds(false, 12)...), seconds(true, 4)...), seconds(false, 12)...), []string{"warn", "info", "warn", "info"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			core, logs := observer.New(zapcore.InfoLevel)
			notices := make(map[string]string)
			o := newOverloads(Options{Log: zap.New(core), Notice: func(about, text string) {
				if notices[about] = text; text == "" {
					delete(notices, about)
				}
			}}).inFlight
			now := time.Now()
			for _, met := range tt.ticks {
				if met {
					o.hit(netip.Prefix{})
				}
				now = now.Add(time.Second)
				o.tick(now)
			}
			var got []string
			for _, line := range logs.All() {
				got = append(got, line.Level.String())
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got lines %v, want %v", got, tt.want)
			}
			if open := len(tt.want)%2 == 1; (len(notices) == 1) != open {
				t.Errorf("notices are %v, want one: %t", notices, open)
			}
		})
	}
}

func seconds(met bool, n int) []bool {
	ticks := make([]bool, n)
	for i := range ticks {
		ticks[i] = met
	}
	return ticks
}

// Slots that are full for seconds are seen while the server runs.
func TestServeReportsFullSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		notices := make(chan string, 10)
		f := newFixture(t, Options{MaxInFlight: 1, Notice: func(about, text string) { notices <- about + ":" + text[:min(len(text), 2)] }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.watch(ctx) }()
		f.slots <- struct{}{}
		for i := range 5 {
			f.do(signed(t, secretA, fmt.Sprint("msg_", i), time.Now(), event))
			time.Sleep(time.Second)
		}
		<-f.slots
		time.Sleep(15 * time.Second)
		cancel()
		<-done
		close(notices)
		var got []string
		for n := range notices {
			got = append(got, n)
		}
		if fmt.Sprint(got) != "[in_flight:as in_flight:]" {
			t.Errorf("got notices %v, want one and its end", got)
		}
		if n := len(f.logs.All()); n != 2 {
			t.Errorf("got %d lines, want 2: %v", n, f.logs.All())
		}
	})
}
