package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// A dead letter that comes between the question and the answer: it was not asked about.
func TestDiscardWhatWasAskedAbout(t *testing.T) {
	t.Parallel()
	b := newBridgeProcess(t)
	b.Start()
	bad := func(id string) {
		if code, a := signed(t, testSecret, id, time.Now(), "not JSON "+id).post(t, b.url); code != 202 || a.Status != "quarantined" {
			t.Fatal(code, a)
		}
	}
	bad("msg_1")
	stdin, answer := io.Pipe()
	stderr, said := io.Pipe()
	var out bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(context.Background(), []string{"dead", "discard", "--all", "-c", b.Args[2]}, b.Env, stdin, &out, said)
		said.Close()
	}()
	question, err := bufio.NewReader(stderr).ReadString(']')
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, stderr)
	bad("msg_2") // answered 2xx while the operator thinks
	if _, err := io.WriteString(answer, "y\n"); err != nil {
		t.Fatal(err)
	}
	code := <-ended
	if left := b.metric("persat_bridge_dead_events"); left != 1 || code != 0 || !strings.Contains(out.String(), "1 discarded") {
		t.Errorf("asked %q; exit %d, %q; dead letters left: %v, want the one that came meanwhile", question, code, out.String(), left)
	}
}
