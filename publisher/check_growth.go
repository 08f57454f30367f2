package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// growth says how much the stream has grown in the last day, and, when its disk is known,
// for how many such days there is room.
func (c *check) growth(ctx context.Context, info *jetstream.StreamInfo) {
	now := info.TimeStamp // of the server, as are those of the messages
	if now.IsZero() {
		now = time.Now()
	}
	messages, err := c.storedSince(ctx, now.Add(-24*time.Hour), info.State)
	if err != nil {
		c.say(Note, "its growth of the last day cannot be seen from here: %v", err)
		return
	}
	var bytes uint64
	if messages > 0 {
		bytes = info.State.Bytes / info.State.Msgs * messages
	}
	room := ""
	if dir := c.p.o.JournalDiskStore; dir != "" && bytes > 0 {
		if free, _, err := diskUsage(dir); err == nil {
			room = fmt.Sprintf("; its disk has %s free, enough for %d such days", mebibytes(uint64(free)), uint64(free)/bytes)
		}
	}
	c.say(OK, "it has grown by %d messages, about %s, in the last day%s", messages, mebibytes(bytes), room)
}

// storedSince is how many of the messages that are in the stream were stored since then.
func (c *check) storedSince(ctx context.Context, since time.Time, state jetstream.StreamState) (uint64, error) {
	if state.Msgs == 0 || !state.FirstTime.Before(since) {
		return state.Msgs, nil
	}
	request, err := json.Marshal(map[string]any{"start_time": since, "next_by_subj": ">"})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	_, first, _, err := c.getMessage(ctx, request)
	switch {
	case errors.Is(err, bridge.ErrNoMessage):
		return 0, nil
	case err != nil:
		return 0, err
	}
	// Some in between may have been deleted.
	return min(state.LastSeq-first+1, state.Msgs), nil
}

func mebibytes(bytes uint64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
