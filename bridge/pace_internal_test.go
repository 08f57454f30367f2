package bridge

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// paced is a server of which each way gets so much through, in simulated time.
type paced struct {
	*pace
	t       *testing.T
	now     time.Time
	speed   [2]float64 // events a second
	allowed int
	sent    [2]int
	logs    *observer.ObservedLogs
}

func newPaced(t *testing.T, single, batch float64) *paced {
	core, logs := observer.New(zapcore.InfoLevel)
	o := Batches{Enabled: true}
	o.validate()
	p := &paced{pace: newPace(o, zap.New(core)), t: t, now: time.Unix(1_000_000, 0), speed: [2]float64{single, batch}, allowed: 1000, logs: logs}
	p.begin(p.now)
	return p
}

// run lets a backlog drain for so long.
func (p *paced) run(d time.Duration, waiting int) {
	for end := p.now.Add(d); p.now.Before(end); {
		w, n := single, 50
		if _, most := p.choose(p.now, p.allowed, 1024, waiting); most > 0 {
			w, n = together, most
		}
		p.now = p.now.Add(time.Duration(float64(n) / p.speed[w] * float64(time.Second)))
		p.acknowledged(w, n, p.now)
		p.sent[w] += n
	}
}

// A backlog goes the way that gets more through, and the other way is looked at again.
func TestPaceKeepsToTheBetter(t *testing.T) {
	for _, c := range []struct {
		name          string
		single, batch float64
		want          Publishing
	}{
		{"a server that syncs each message", 400, 9_000, Publishing{Mode: "batch", Reason: PaceBatch}},
		{"a server that does not", 40_000, 25_000, Publishing{Mode: "single", Reason: PaceSingle}},
		{"no difference worth a change", 10_000, 11_000, Publishing{Mode: "single", Reason: PaceSingle}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPaced(t, c.single, c.batch)
			p.run(time.Minute, 10_000)
			got := p.publishing()
			if got.Mode != c.want.Mode || got.Reason != c.want.Reason {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if near := func(got int, want float64) bool { return float64(got) > 0.9*want && float64(got) < 1.1*want }; !near(got.SinglePerSecond, c.single) || !near(got.BatchPerSecond, c.batch) {
				t.Errorf("measured %+v, want %.0f and %.0f", got, c.single, c.batch)
			}
			alone, share := c.single, 0.97
			if c.want.Mode == "batch" {
				alone, share = c.batch, 0.9
			}
			if through := float64(p.sent[single]+p.sent[together]) / 60; through < share*alone {
				t.Errorf("it gets %.0f a second through, the chosen way alone %.0f", through, alone)
			}
			if lines := p.logs.Len(); lines != 1 {
				t.Errorf("the log has %d lines, want 1", lines)
			}
			p.speed[single], p.speed[together] = c.batch*1.5, c.single*3 // another server, another way
			p.run(10*time.Minute, 10_000)
			if batch, got := p.speed[together] > p.speed[single], p.publishing(); (got.Mode == "batch") != batch {
				t.Errorf("after the speeds have changed: %+v", got)
			}
		})
	}
}

// Without a backlog nothing is measured, and what comes in says nothing of the server.
func TestPaceNeedsABacklog(t *testing.T) {
	p := newPaced(t, 100, 10_000)
	p.run(time.Minute, 10)
	if got := p.publishing(); got.Mode != "single" || got.Reason != PaceUnmeasured || p.sent[together] > 0 {
		t.Errorf("got %+v, and %d events in batches", got, p.sent[together])
	}
}

// What is refused goes alone for a while, longer each time; a stream that takes no batches,
// or a configuration without, gets none.
func TestPaceRefused(t *testing.T) {
	p := newPaced(t, 400, 9_000)
	p.run(10*time.Second, 10_000)
	for n, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		p.refused("the stream has one of its events already", p.now)
		if got := p.publishing(); got.Reason != PaceRefused || got.Detail == "" {
			t.Errorf("got %+v", got)
		}
		sent := p.sent[together]
		p.run(want-300*time.Millisecond, 10_000)
		if p.sent[together] != sent {
			t.Errorf("refusal %d: a batch goes before %v are over", n, want)
		}
		p.now = p.now.Add(time.Second)
	}
	p.run(10*time.Second, 10_000)
	if got := p.publishing(); got.Mode != "batch" || got.Reason != PaceBatch {
		t.Errorf("after the refusals: got %+v", got)
	}
	p.allowed = 0
	sent := p.sent[together]
	p.run(10*time.Second, 10_000)
	if got := p.publishing(); got.Mode != "single" || got.Reason != PaceNotAllowed || p.sent[together] != sent {
		t.Errorf("a stream that takes none: got %+v", got)
	}
	p.allowed = 1000
	p.run(10*time.Second, 10_000)
	if got := p.publishing(); got.Mode != "batch" {
		t.Errorf("a stream that takes them again: got %+v", got)
	}
	p.o.Enabled = false
	p.begin(p.now)
	p.run(10*time.Second, 10_000)
	if got := p.publishing(); got.Mode != "single" || got.Reason != PaceOff {
		t.Errorf("switched off: got %+v", got)
	}
}

// A trial of batches that ended by a refusal was logged as one that single events had won.
func TestPaceRefusedTrialMeasuresNothing(t *testing.T) {
	p := newPaced(t, 400, 9_000)
	for !p.trial {
		p.run(100*time.Millisecond, 10_000)
	}
	p.refused("the stream has one of its events already", p.now)
	if got := p.publishing(); p.trial || got.Mode != "single" || got.Reason != PaceRefused || got.BatchPerSecond != 0 {
		t.Errorf("got %+v", got)
	}
	if logged := p.logs.FilterMessageSnippet("gets more through"); logged.Len() != 0 {
		t.Errorf("the log has %q", logged.All()[0].Message)
	}
}

// A trial of batches of which none comes about ends.
func TestPaceTrialEnds(t *testing.T) {
	p := newPaced(t, 400, 9_000)
	p.run(200*time.Millisecond, 10_000)
	ended, tried := false, false
	for range 100 {
		p.choose(p.now, p.allowed, 1024, 10_000)
		p.now = p.now.Add(100 * time.Millisecond)
		p.acknowledged(single, 20, p.now)
		ended = ended || tried && !p.trial && p.way == single
		tried = tried || p.trial
	}
	if !ended {
		t.Errorf("the trial goes on: %+v", p.publishing())
	}
}
