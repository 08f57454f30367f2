package publisher

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

const (
	// unlimited is a limit that nothing reaches; 0 would be three quarters of the disk
	// that is free at the start.
	unlimited = 1 << 60
	// lookEvery is how often an embedded server is asked how it is, and againAfter how
	// long one that was started again is let be.
	lookEvery  = 5 * time.Second
	againAfter = 30 * time.Second
	// enough is the room with which a frozen server is started again.
	enough = 1 << 20
)

// watch starts the server again when it has frozen and there is room. A new server, and
// not its JetStream alone: clients see a connection that ends, and the bridge compares
// the stream with its journal, as after any other outage.
func (e *Embedded) watch(ctx context.Context) {
	defer close(e.stopped)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var logged string
	var started time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		reason := frozen(e.server.Load())
		if reason == "" {
			logged = ""
			continue
		}
		if err := e.room.take(enough); err != nil {
			if logged == "" {
				e.o.Log.Error("the embedded NATS cannot store; it is started again when there is room", zap.String("reason", reason), zap.Error(err))
				logged = reason
			}
			continue
		}
		if time.Since(started) < againAfter {
			continue
		}
		started = time.Now()
		e.o.Log.Warn("the embedded NATS cannot store and is started again", zap.String("reason", reason))
		e.shutdown()
		if err := e.start(ctx); err != nil {
			e.o.Log.Error("the embedded NATS does not start again; the next attempt follows", zap.Error(err))
		} else {
			e.o.Log.Info("the embedded NATS is started again")
		}
	}
}

// frozen says why a server stores nothing any more, whatever its disk has now: a stream
// that could not be written stays so until the server is started again.
func frozen(s *server.Server) string {
	if !s.Running() || !s.JetStreamEnabled() {
		return "JetStream is off"
	}
	for _, e := range s.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if strings.Contains(e.Error, "write error") {
			return fmt.Sprint(e.Error)
		}
	}
	return ""
}
