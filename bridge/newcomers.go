package bridge

import (
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// newcomers are the event types outside Options.Types that this process has accepted. The
// log gets each once.
type newcomers struct {
	mu   sync.Mutex
	seen map[string]bool
}

// maxNewcomers bounds what a sender's names can take, in memory and in the log.
const maxNewcomers = 100

// note logs the first event of a type that Options.Types does not have.
func (n *newcomers) note(known []string, e *Event, log *zap.Logger) {
	if len(known) == 0 || slices.Contains(known, e.Type) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen[e.Type] || len(n.seen) >= maxNewcomers {
		return
	}
	if n.seen == nil {
		n.seen = make(map[string]bool)
	}
	n.seen[e.Type] = true
	fields := []zap.Field{zap.String("source", e.Source), zap.String("type", e.Type)}
	if word, _, _ := strings.Cut(e.Type, "."); e.Kind != "" && e.Kind != word {
		fields = append(fields, zap.String("payload_of", e.Kind))
	}
	log.Info("an event type that the catalogue does not know; it is published like the others, and 'persat-bridge learn' describes it", fields...)
}
