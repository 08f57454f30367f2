package publisher

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// consumersTimeout bounds the look at the consumers: a server does not answer who may not
// ask, and nothing depends on it.
const consumersTimeout = time.Second

var _ bridge.ConsumerLister = (*session)(nil)

// Consumers implements bridge.ConsumerLister. It asks for the first page, which has 256.
func (s *session) Consumers(ctx context.Context) ([]bridge.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, consumersTimeout)
	defer cancel()
	var page struct {
		Consumers []struct {
			Name   string `json:"name"`
			Config struct {
				Durable string `json:"durable_name"`
			} `json:"config"`
			Pending     uint64 `json:"num_pending"`
			AckPending  int    `json:"num_ack_pending"`
			Redelivered int    `json:"num_redelivered"`
		} `json:"consumers"`
	}
	if err := s.ask(ctx, "list the consumers", s.api.subject(askConsumers+s.p.o.Stream.Name), []byte(`{"offset":0}`), &page); err != nil {
		return nil, err
	}
	var consumers []bridge.ConsumerInfo
	for _, c := range page.Consumers {
		consumers = append(consumers, bridge.ConsumerInfo{Name: c.Name, Durable: c.Config.Durable != "", Pending: c.Pending, AckPending: c.AckPending, Redelivered: c.Redelivered})
	}
	slices.SortFunc(consumers, func(a, b bridge.ConsumerInfo) int {
		return cmp.Or(cmp.Compare(b.Pending+uint64(b.AckPending), a.Pending+uint64(a.AckPending)), cmp.Compare(a.Name, b.Name))
	})
	return consumers[:min(len(consumers), 100)], nil
}

// growthPerDay is the mean growth of a stream since its first message, in bytes a day; 0
// where that is less than an hour ago.
func growthPerDay(bytes uint64, first, now time.Time) int64 {
	kept := now.Sub(first)
	if first.IsZero() || kept < time.Hour {
		return 0
	}
	return int64(float64(bytes) / kept.Hours() * 24)
}
