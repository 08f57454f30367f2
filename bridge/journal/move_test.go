package journal

import (
	"errors"
	"testing"
	"time"
)

func TestDeadLetterRequeuedOrDiscarded(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	for n := 1; n <= 2; n++ {
		r := record(n)
		r.Dead = &Death{At: time.Now(), Reason: "too large"}
		appendOne(t, j, r)
	}
	first, err := j.Dead(1)
	if err != nil {
		t.Fatal(err)
	}
	second, err := j.Dead(2)
	if err != nil {
		t.Fatal(err)
	}
	first.Header = []byte("replayed")
	if err := errors.Join(j.Requeue([]Item{first.Item}), j.Discard([]DeadItem{second})); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	j = open(t, dir)
	if item, body, err := j.Load(1); err != nil || string(item.Header) != "replayed" || string(body) != "body 1" {
		t.Errorf("requeued: got %+v %q %v", item, body, err)
	}
	for d := range j.AllDead() {
		t.Errorf("record %d is still dead", d.Seq)
	}
	if _, err := j.Body(2); !errors.Is(err, ErrNotFound) {
		t.Errorf("the discarded body: got %v, want none", err)
	}
	if got := appendOne(t, j, record(2)); got.Status != Repeat {
		t.Errorf("a late repeat of what was discarded: got %+v, want a repeat", got)
	}
}
