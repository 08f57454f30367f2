package webhook

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// overloadAfter is how many seconds in a row a limit has to be met before a human
	// hears of it, and overloadQuiet how many it has to be left alone for the end.
	overloadAfter = 3
	overloadQuiet = 10
)

// overload follows one limit of the server that requests can meet. A burst is no news;
// a limit that is met for seconds is a line in the log and a notice, and so is the end
// of it a line.
type overload struct {
	about  string // key of its notice
	text   string // what is wrong, and what to do
	after  int    // seconds
	report func(about, text string)
	log    *zap.Logger

	hits atomic.Int64
	last atomic.Pointer[netip.Prefix] // network of the last who met it, when known

	// Of tick alone.
	seen     int64
	busy     int // seconds with a hit
	quiet    int // seconds without one, since the last
	reported bool
	since    time.Time
	first    int64 // hits before since
}

// hit notes that the limit was met, by whom when that is known.
func (o *overload) hit(by netip.Prefix) {
	if by.IsValid() {
		o.last.Store(&by)
	}
	o.hits.Add(1)
}

// tick is called once a second.
func (o *overload) tick(now time.Time) {
	hits := o.hits.Load()
	met := hits != o.seen
	if met {
		if o.busy == 0 {
			o.since, o.first = now, o.seen
		}
		o.busy++
		o.quiet = 0
	} else {
		o.quiet++
	}
	o.seen = hits
	switch {
	case met && !o.reported && o.busy >= o.after:
		o.reported = true
		fields := []zap.Field{zap.Int64("refused", hits-o.first)}
		if by := o.last.Load(); by != nil {
			fields = append(fields, zap.Stringer("network", by))
		}
		o.log.Warn(o.text, fields...)
		o.report(o.about, o.text)
	case o.reported && o.quiet >= overloadQuiet:
		o.log.Info("the limit is no longer met", zap.String("limit", o.about), zap.Int64("refused", hits-o.first), zap.Duration("for", now.Sub(o.since).Round(time.Second)))
		o.report(o.about, "")
		o.reported, o.busy = false, 0
	case !o.reported && o.quiet >= overloadAfter:
		o.busy = 0
	}
}

// overloads are the limits of a server.
type overloads struct {
	inFlight, reading, connections, files *overload
}

func newOverloads(o Options) overloads {
	limit := func(about, text string) *overload {
		return &overload{about: about, text: text, after: overloadAfter, report: o.Notice, log: o.Log}
	}
	files := limit("open_files", "the process may not have more files open (ulimit -n), and a connection could not be accepted: "+
		"connections are closed so that the journal and NATS have what they need; raise the limit (LimitNOFILE of systemd, ulimits of Docker)")
	files.after = 1 // the journal fails without files: no time to lose
	return overloads{
		files: files,
		inFlight: limit("in_flight", "as many events are being written as server.max_in_flight allows, and more get a 503: "+
			"the disk under journal.dir is slow, or (with accept.wait_for: stream) NATS is; raise server.max_in_flight only when neither is"),
		reading: limit("reading", "more requests are being sent than the bridge reads at once, and the slowest are cut: "+
			"somebody holds requests open; the log line names the network of one, keep it out with a firewall"),
		connections: limit("connections", "more connections are open than the bridge may hold (its limit of open files, ulimit -n), and the longest unused are closed: "+
			"raise the limit (LimitNOFILE of systemd, ulimits of Docker), or keep out who holds them open; the log line names the network of one"),
	}
}

// watch ticks until ctx ends.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			s.readings.tick()
			for _, o := range []*overload{s.overloads.inFlight, s.overloads.reading, s.overloads.connections, s.overloads.files} {
				o.tick(now)
			}
		case <-ctx.Done():
			return
		}
	}
}
