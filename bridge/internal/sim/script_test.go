package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Script is what happens to a bridge: options, and steps, each a line of words.
type Script struct {
	Options Options
	Steps   []string
}

// Options are those of the bridge and of the stream.
type Options struct {
	Seed          uint64
	InFlight      int
	Attempts      int
	Window        time.Duration // in which the stream knows a message id
	Retention     time.Duration
	Dedup         time.Duration // in which the journal knows a delivery id
	WaitForStream bool
	Batches       bool // a backlog may go in atomic batches
}

func (o Options) String() string {
	wait := "journal"
	if o.WaitForStream {
		wait = "stream"
	}
	text := fmt.Sprintf("options seed=%d inflight=%d attempts=%d window=%v retention=%v dedup=%v wait=%s", o.Seed, o.InFlight, o.Attempts, o.Window, o.Retention, o.Dedup, wait)
	if o.Batches {
		text += " batches=yes"
	}
	return text
}

func (s Script) String() string {
	return s.Options.String() + "\n" + strings.Join(s.Steps, "\n") + "\n"
}

// parseScript reads what String writes. Lines that begin with # are comments.
func parseScript(text string) (Script, error) {
	s := Script{Options: Options{Seed: 1, InFlight: 16, Attempts: 5, Window: time.Hour, Retention: 72 * time.Hour, Dedup: 72 * time.Hour}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		options, isOptions := strings.CutPrefix(line, "options ")
		switch {
		case line == "" || line[0] == '#':
		case isOptions:
			for word := range strings.FieldsSeq(options) {
				if err := s.Options.set(word); err != nil {
					return s, err
				}
			}
		default:
			s.Steps = append(s.Steps, line)
		}
	}
	return s, nil
}

func (o *Options) set(word string) (err error) {
	key, value, _ := strings.Cut(word, "=")
	switch key {
	case "seed":
		o.Seed, err = strconv.ParseUint(value, 10, 64)
	case "inflight":
		o.InFlight, err = strconv.Atoi(value)
	case "attempts":
		o.Attempts, err = strconv.Atoi(value)
	case "window":
		o.Window, err = time.ParseDuration(value)
	case "retention":
		o.Retention, err = time.ParseDuration(value)
	case "dedup":
		o.Dedup, err = time.ParseDuration(value)
	case "wait":
		o.WaitForStream = value == "stream"
	case "batches":
		o.Batches = value == "yes"
	default:
		err = fmt.Errorf("unknown option %q", word)
	}
	return err
}

// quickestRestart is the shortest time in which a server is back without what it had
// acknowledged, behind a quick link. Behind a slow one the bridge cannot keep the order of an event
// that was under way all that time, so there it is away for longer.
const quickestRestart = 270 * time.Millisecond

// do does one step.
func (w *world) do(words []string) error {
	n := w.server
	number := func(i int) int {
		if i >= len(words) {
			return 0
		}
		v, _ := strconv.Atoi(words[i])
		return v
	}
	duration := func(i int) time.Duration {
		if i >= len(words) {
			return 0
		}
		d, _ := time.ParseDuration(words[i])
		return d
	}
	word := func(i int) string {
		if i >= len(words) {
			return ""
		}
		return words[i]
	}
	switch strings.Join(words[:min(2, len(words))], " ") {
	case "nats stop":
		n.stop()
	case "nats start":
		n.start()
	case "nats restart":
		n.stop()
		w.pass(duration(2))
		n.start()
	case "nats lose": // its host loses power: nats lose 5 [keep]
		n.stop()
		n.losePower(number(2), word(3) == "keep")
		w.pass(duration(4))
		n.start()
	case "nats behind": // the same of another server, behind a connection that stays up
		var away time.Duration
		n.set(func() {
			n.electing = true
			away = max(duration(4), quickestRestart+8*n.slowest)
		})
		w.pass(away / 2)
		n.losePower(number(2), word(3) == "keep")
		w.pass(away / 2)
		n.set(func() { n.electing = false })
	case "nats hole":
		n.stop()
		n.loseBlock(number(2))
		n.start()
	case "nats recreate":
		n.recreate()
	case "nats identity":
		n.stop()
		n.rename()
		n.start()
	case "nats delete":
		n.set(n.drop)
	case "nats purge":
		n.purge(word(2))
	case "nats rmm":
		n.removeNewest(number(2))
	case "nats limit":
		n.limit(number(2), number(3), word(4) == "new")
	case "nats pause":
		n.pause()
	case "nats resume":
		n.resume()
	case "nats elect":
		n.set(func() { n.electing = true })
		w.pass(duration(2))
		n.set(func() { n.electing = false })
	case "nats full":
		n.set(func() { n.full = word(2) == "on" })
	case "nats deny":
		n.set(func() { n.denied[word(2)] = true })
	case "nats allow":
		n.set(func() { clear(n.denied) })
	case "nats ackloss":
		n.set(func() { n.ackLoss = float64(number(2)) / 100 })
	case "nats latency":
		n.set(func() {
			n.latency = max(duration(2), time.Microsecond)
			n.slowest = max(n.slowest, n.latency)
		})
	case "nats sync":
		n.set(func() { n.sync = duration(2) })
	case "nats batches":
		n.set(func() {
			if n.stream != nil {
				n.stream.batches = word(2) == "on"
			}
		})
	case "nats crowded": // with batches of other clients
		n.set(func() { n.crowded = word(2) == "on" })
	case "nats cut":
		n.cutSessions()
	case "nats strangers":
		n.strangers(number(2))
	case "disk full":
		w.fillDisk(true)
	case "disk free":
		w.fillDisk(false)
	default:
		return w.doBridge(words, number, duration)
	}
	return nil
}

// doBridge does one step of a sender, of the bridge or of its operator.
func (w *world) doBridge(words []string, number func(int) int, duration func(int) time.Duration) error {
	ctx := context.Background()
	switch words[0] {
	case "accept": // accept EVENTS SENDERS ENTITIES
		w.accept(number(1), max(number(2), 1), max(number(3), 1))
	case "repeat":
		w.repeat(number(1), false)
	case "conflict":
		w.repeat(number(1), true)
	case "wait":
		w.pass(duration(1))
	case "start":
		return w.start()
	case "stop":
		return w.stop()
	case "cut": // cut PERCENT [OPERATIONS]: the power goes, now or at an operation of the disk
		if w.life == nil {
			return nil
		}
		w.life.set(func() { w.life.keep, w.life.after = number(1), number(2) })
		if number(2) == 0 {
			w.life.cutPower()
		}
	case "replay":
		if w.life != nil {
			_, err := w.life.bridge.StartReplay(ctx, bridge.Filter{})
			if err == nil {
				w.life.cancelled = false
			}
			w.log("replay: %v", err)
		}
	case "cancel":
		if w.life != nil {
			w.life.cancelled = true
			w.life.bridge.CancelReplay()
		}
	case "revive": // the dead letters
		if w.life != nil {
			_, _, err := w.life.bridge.ReplayDead(ctx, bridge.Filter{})
			return err
		}
	case "discard":
		if w.life != nil {
			_, err := w.life.bridge.DiscardDead(ctx, bridge.Filter{})
			return err
		}
	default:
		return fmt.Errorf("unknown step %q", strings.Join(words, " "))
	}
	return nil
}

// newScript makes a script from a seed.
func newScript(seed uint64) Script {
	rng := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...time.Duration) time.Duration { return of[rng.IntN(len(of))] }
	s := Script{Options: Options{
		Seed: seed, InFlight: []int{1, 2, 4, 16, 64}[rng.IntN(5)], Attempts: 3 + rng.IntN(6), Window: pick(30*time.Second, 2*time.Minute, time.Hour, time.Hour),
		Retention: pick(2*time.Minute, time.Hour, time.Hour, time.Hour), Dedup: pick(2*time.Minute, time.Hour, time.Hour), WaitForStream: rng.IntN(8) == 0,
		Batches: rng.IntN(3) > 0,
	}}
	if s.Options.Batches && rng.IntN(2) == 0 {
		s.Steps = append(s.Steps, fmt.Sprintf("nats sync %dms", 1<<rng.IntN(7)))
	}
	for range 5 + rng.IntN(25) {
		s.Steps = append(s.Steps, newStep(rng, s.Options))
	}
	return s
}

// newStep picks a step; most are of events and of time, the rest is trouble.
func newStep(rng *rand.Rand, o Options) string {
	wait := func() string {
		if rng.IntN(30) == 0 {
			return fmt.Sprintf("%ds", 60+rng.IntN(180))
		}
		return fmt.Sprintf("%dms", 1<<rng.IntN(14))
	}
	subject := func() string { return []string{"a", "b"}[rng.IntN(2)] + "." + eventTypes[rng.IntN(len(eventTypes))] }
	few := func() int { return 1 + rng.IntN(8) }
	// What nothing decides is told as long as it can be sent again, so not after a short retention.
	keep := func() string {
		if o.Retention < time.Hour {
			return "-"
		}
		return []string{"-", "keep"}[rng.IntN(2)]
	}
	steps := []struct {
		weight int
		step   func() string
	}{
		{30, func() string { return fmt.Sprintf("accept %d %d %d", 1+rng.IntN(25), 1+rng.IntN(6), 1+rng.IntN(6)) }},
		{3, func() string { return fmt.Sprintf("accept %d %d %d", 40+rng.IntN(80), 2+rng.IntN(12), 1+rng.IntN(12)) }},
		{30, func() string { return "wait " + wait() }},
		{4, func() string { return fmt.Sprintf("repeat %d", few()) }},
		{1, func() string { return fmt.Sprintf("conflict %d", few()) }},
		{5, func() string {
			return fmt.Sprintf("cut %d %d", []int{0, 0, 50, 100}[rng.IntN(4)], rng.IntN(2)*rng.IntN(60))
		}},
		{2, func() string { return "stop" }},
		{4, func() string { return "start" }},
		{3, func() string { return "replay" }},
		{1, func() string { return "cancel" }},
		{2, func() string { return "revive" }},
		{1, func() string { return "discard" }},
		{2, func() string { return "nats stop" }},
		{4, func() string { return "nats start" }},
		{3, func() string { return "nats restart " + wait() }},
		{4, func() string { return fmt.Sprintf("nats lose %d %s %s", few(), keep(), wait()) }},
		{3, func() string { return fmt.Sprintf("nats behind %d %s %s", few(), keep(), wait()) }},
		{1, func() string { return "nats recreate" }},
		{1, func() string { return "nats delete" }},
		{1, func() string { return "nats purge" }},
		{1, func() string { return "nats purge " + subject() }},
		{1, func() string { return fmt.Sprintf("nats rmm %d", few()) }},
		{1, func() string {
			return fmt.Sprintf("nats limit %d 0 %s", 5+rng.IntN(40), []string{"new", "old"}[rng.IntN(2)])
		}},
		{1, func() string { return fmt.Sprintf("nats limit 0 %d old", 5+rng.IntN(40)) }},
		{2, func() string { return "nats pause" }},
		{3, func() string { return "nats resume" }},
		{2, func() string { return "nats elect " + wait() }},
		{1, func() string { return "nats full on" }},
		{2, func() string { return "nats full off" }},
		{2, func() string { return "nats deny " + subject() }},
		{2, func() string { return "nats allow" }},
		{3, func() string { return fmt.Sprintf("nats ackloss %d", []int{0, 0, 10, 50, 100}[rng.IntN(5)]) }},
		{2, func() string { return fmt.Sprintf("nats latency %dms", 1<<rng.IntN(9)) }},
		{2, func() string { return "nats cut" }},
		{2, func() string { return fmt.Sprintf("nats sync %dms", []int{0, 1, 5, 20, 100}[rng.IntN(5)]) }},
		{1, func() string { return "nats batches off" }},
		{2, func() string { return "nats batches on" }},
		{1, func() string { return "nats crowded on" }},
		{2, func() string { return "nats crowded off" }},
		{2, func() string { return fmt.Sprintf("nats strangers %d", few()) }},
		{1, func() string { return "disk full" }},
		{2, func() string { return "disk free" }},
	}
	all := 0
	for _, s := range steps {
		all += s.weight
	}
	at := rng.IntN(all)
	for _, s := range steps {
		if at -= s.weight; at < 0 {
			return s.step()
		}
	}
	return "wait 1s"
}
