package admin

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// records are a journal, the newest last.
type records []bridge.Record

func (r records) Events(_ context.Context, q bridge.EventQuery) (list bridge.EventList, _ error) {
	for i := len(r) - 1; i >= 0; i-- {
		if q.Before > 0 && r[i].Record >= q.Before {
			continue
		}
		if len(list.Records) == 2 { // short pages
			list.More = r[i].Record + 1
			break
		}
		list.Looked++
		list.Reached = r[i].Accepted
		list.Records = append(list.Records, r[i])
	}
	return list, nil
}

// TestPast is a history over a restart: what was before is from the journal, what came
// since from the metrics.
func TestPast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Date(2026, 1, 31, 12, 0, 30, 0, time.UTC)
		started := now.Add(-5 * time.Minute)
		ago := func(d time.Duration) time.Time { return now.Add(-d) }
		at := func(d time.Duration) *time.Time { t := ago(d); return &t }
		of := func(record uint64, state journal.State, accepted time.Duration, end *time.Time) bridge.Record {
			return bridge.Record{Record: record, Source: "persat", Type: "workorder.closed", State: state, Accepted: ago(accepted), At: end}
		}
		m := newMinutes()
		m.fill(t.Context(), records{
			of(1, journal.Published, 80*time.Hour, at(80*time.Hour)), // too long ago
			of(2, journal.Published, 71*time.Hour, at(71*time.Hour)),
			of(3, journal.Published, 20*time.Minute, at(10*time.Minute)), // waited ten minutes
			of(4, journal.Dead, 19*time.Minute, at(18*time.Minute)),
			of(5, journal.Pending, 8*time.Minute, nil),
			of(6, journal.Published, 7*time.Minute, at(2*time.Minute)), // by the new process
			of(7, journal.Published, time.Minute, at(time.Minute)),     // accepted by the new process
		}, started)
		before := reading{at: ago(3 * time.Minute), pending: 2, accepted: map[labels]float64{{"persat", "workorder.closed"}: 0}}
		next := reading{at: ago(time.Minute), pending: 1, accepted: map[labels]float64{{"persat", "workorder.closed"}: 1}, published: map[labels]float64{{"persat", "workorder.closed"}: 2},
			acceptDuration: buckets{.005: 1}, publishedDuration: buckets{.005: 1, 600: 2}}
		m.live(&before, &next)

		hour := m.get(ranges["1h"], now)
		if len(hour.Samples) != 60 || hour.Interval != 60 || !hour.Complete {
			t.Fatalf("got %d samples of %v s, complete %v", len(hour.Samples), hour.Interval, hour.Complete)
		}
		of60 := func(ago time.Duration) Sample { return hour.Samples[59-int(ago/time.Minute)] }
		for _, c := range []struct {
			ago                          time.Duration
			accepted, published, pending int
		}{
			{21 * time.Minute, 0, 0, 0},
			{20 * time.Minute, 1, 0, 1},
			{19 * time.Minute, 1, 0, 2},
			{18 * time.Minute, 0, 0, 1}, // dead
			{11 * time.Minute, 0, 0, 1},
			{10 * time.Minute, 0, 1, 0},
			{8 * time.Minute, 1, 0, 1},
			{7 * time.Minute, 1, 0, 2},
			{6 * time.Minute, 0, 0, 2},
			{time.Minute, 1, 2, 1}, // measured
			{0, 0, 0, 1},
		} {
			s := of60(c.ago)
			if int(s.Accepted) != c.accepted || int(s.Published) != c.published || s.Pending != c.pending {
				t.Errorf("%v ago: got %d accepted, %d published, %d pending; want %d, %d, %d", c.ago, s.Accepted, s.Published, s.Pending, c.accepted, c.published, c.pending)
			}
		}
		if s := of60(10 * time.Minute); s.PublishMedian == nil || *s.PublishMedian < 120 || *s.PublishMedian > 600 {
			t.Errorf("end to end of what waited ten minutes: got %v", s.PublishMedian)
		}
		if len(hour.Types) != 1 || hour.Types[0].Total != 5 {
			t.Errorf("got types %+v, want the five events of the last hour", hour.Types)
		}
		days := m.get(ranges["72h"], now)
		if len(days.Samples) != 144 || days.Types[0].Total != 6 || days.Samples[143].Pending != 1 {
			t.Errorf("got %d samples, %d events, %d pending; want 144, six events, one pending", len(days.Samples), days.Types[0].Total, days.Samples[143].Pending)
		}
	})
}
