package publisher

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// Messages of the last day count, and their share of the stream's bytes.
func TestCheckGrowth(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	js := n.JetStream()
	makeStream(t, js, plain())
	for range 40 {
		if _, err := js.Publish(t.Context(), "persat.a", make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
	}
	o := optionsFor(n.URL)
	o.JournalDiskStore = t.TempDir()
	growth := func() string {
		t.Helper()
		for _, f := range Check(t.Context(), o, 1000) {
			if strings.Contains(f.Text, "grow") {
				return f.Level + ": " + f.Text
			}
		}
		t.Fatal("nothing of the growth")
		return ""
	}
	if got, want := growth(), "ok: it has grown by 40 messages, about 3.8 MiB, in the last day; its disk has "; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, " such days") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Of an older stream the first message of the day is asked for, and it is said when that
// cannot be.
func TestCheckGrowthOfAnOlderStream(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	js := n.JetStream()
	makeStream(t, js, plain())
	for range 5 {
		if _, err := js.Publish(t.Context(), "persat.a", nil); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	third, err := stream.GetMsg(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	c := &check{session: connect(t, optionsFor(n.URL)).(*session)}
	state := stream.CachedInfo().State
	state.Msgs, state.FirstTime, state.LastSeq = 5, third.Time.Add(-1), 5
	for after, want := range map[uint64]uint64{3: 3, 6: 0} {
		since := third.Time
		if after == 6 {
			since = since.Add(1 << 40)
		}
		got, err := c.storedSince(t.Context(), since, state)
		if err != nil || got != want {
			t.Errorf("from message %d on: got %d, %v, want %d", after, got, err, want)
		}
	}
	if err := js.DeleteStream(t.Context(), "PERSAT"); err != nil {
		t.Fatal(err)
	}
	c.growth(t.Context(), &jetstream.StreamInfo{TimeStamp: third.Time.Add(1 << 50), State: state})
	if len(c.found) != 1 || c.found[0].Level != Note || !strings.HasPrefix(c.found[0].Text, "its growth of the last day cannot be seen from here: ") {
		t.Errorf("got %+v", c.found)
	}
}
