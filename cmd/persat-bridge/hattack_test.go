package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// A dead letter that comes between the question and the answer.
func TestAttackDiscardOfWhatWasNotAskedFor(t *testing.T) {
	b := newBridgeProcess(t)
	b.start()
	bad := func(id string) {
		if code, a := signed(t, testSecret, id, time.Now(), "not JSON "+id).post(t, b.url); code != 202 || a.Status != "quarantined" {
			t.Fatal(code, a)
		}
	}
	bad("msg_1")
	stdin, answer := io.Pipe()
	var out, stderr bytes.Buffer
	ended := make(chan int)
	go func() {
		ended <- run(context.Background(), []string{"dead", "discard", "--all", "-c", b.args[2]}, b.env, stdin, &out, &stderr)
	}()
	time.Sleep(time.Second)
	bad("msg_2") // answered 2xx while the operator thinks
	io.WriteString(answer, "y\n")
	answer.Close()
	code := <-ended
	if b.metric("persat_bridge_dead_events") != 1 || !strings.Contains(out.String(), "1 discarded") {
		t.Errorf("asked %q; exit %d, %q; dead letters left: %v", stderr.String(), code, out.String(), b.metric("persat_bridge_dead_events"))
	}
}
