package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/spf13/cobra"
)

// Help fits the narrowest usual terminal, so that a line of it can be copied whole.
func TestHelpFits80Columns(t *testing.T) {
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		c.InitDefaultHelpFlag()
		for line := range strings.Lines(help(c)) {
			if got := visible(strings.TrimRight(line, "\n")); got > helpWidth {
				t.Errorf("%s --help: %d columns: %q", c.CommandPath(), got, line)
			}
		}
		for _, sub := range c.Commands() {
			if !undocumented(sub) {
				check(sub)
			}
		}
	}
	check((&program{}).root())
}

// onTerminal runs a command on a terminal that is so many columns wide, and returns what is
// to be read there.
func onTerminal(t *testing.T, width uint16, args, environ []string) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("SKIPPED, NOT TESTED: there are no terminals here: %v", err)
	}
	defer master.Close()
	control := func(request uintptr, arg unsafe.Pointer) {
		t.Helper()
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(arg)); errno != 0 {
			t.Fatal(errno)
		}
	}
	var unlock, number int32
	control(syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	control(syscall.TIOCGPTN, unsafe.Pointer(&number))
	size := [4]uint16{24, width}
	control(syscall.TIOCSWINSZ, unsafe.Pointer(&size))
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan string)
	go func() {
		text, _ := io.ReadAll(master) // ends with EIO when the terminal is closed
		shown <- string(text)
	}()
	run(t.Context(), args, environ, strings.NewReader(""), terminal, terminal)
	if err := terminal.Close(); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(<-shown, "\r\n", "\n")
}

// What the commands say of a bridge in trouble fits a terminal of 80 columns: the terminal
// itself would break lines anywhere, within a command too. The same in a pipe is one line.
func TestOutputFits80Columns(t *testing.T) {
	t.Parallel()
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL=nats://127.0.0.1:1,nats://127.0.0.1:2") // nobody listens there
	b.Start()
	b.post("msg_first", eventBody("deliveryRoute.assigned", "48", ""))
	b.quarantine("msg_with_an_id_of_a_usual_length_2aBcDeFgHi", "not JSON")
	b.quarantine("msg_type", `{"eventType":"`+strings.Repeat("work", 7)+`.order closed","payload":{}}`)
	// Status names the reason once the first attempt has failed.
	for deadline := time.Now().Add(20 * time.Second); b.status().NATS.Attempts == 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	for _, args := range []string{
		"status", "dead list", "dead show --all", "dead replay --all", "dead replay --all --yes", "check", "check --connect", "replay --all --dry-run", "replay --all --yes",
		"journal stat", "journal verify", "dead list msg_none", "replay --source nobody --all", "nothing --at all",
	} {
		text := onTerminal(t, 80, append(strings.Fields(args), "-c", b.Args[2]), b.Env)
		if text == "" {
			t.Errorf("%s says nothing", args)
		}
		for line := range strings.Lines(text) {
			if got := visible(strings.TrimRight(line, "\n")); got > 80 && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("%s: %d columns: %q", args, got, line)
			}
		}
	}
	if _, out, _ := b.tool("status"); !strings.Contains(out, "Last attempt: connect to NATS at nats://127.0.0.1:1,nats://127.0.0.1:2") || strings.Count(strings.SplitN(out, "\n\n", 2)[0], "\n") != 1 {
		t.Errorf("status in a pipe: got %q, want the sentence and the advice on a line each", out)
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct {
		name, text string
		width      int
		want       string
	}{
		{"no terminal", "one two three", 0, "one two three"},
		{"it fits to the last column", "one two", 7, "one two"},
		{"between words", "one two three", 9, "one two\n    three"},
		{"its indent stays", "  one two three", 9, "  one two\n      three"},
		{"a word that is wider stays whole", "see https://example.com/ now", 10, "see\n    https://example.com/\n    now"},
		{"each line", "one two\nthree four", 8, "one two\nthree\n    four"},
		{"columns stay", "a    b", 10, "a    b"},
	} {
		if got := fold(c.text, c.width); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
