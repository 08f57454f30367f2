package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/admin"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
)

// statusEvery is how often --watch asks.
const statusEvery = time.Second

func (p *program) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the state of the running bridge, and what to do",
		Long: "Show what the status page shows: the state of the running bridge in one sentence, what to do, and its numbers.\n" +
			"Exit code 0 when all is well, 1 when somebody has to look, 2 when events are not accepted or no bridge answers.",
		Example: "  persat-bridge status\n  persat-bridge status --watch",
		Args:    noArgs,
	}
	file := configFlag(c)
	asJSON := c.Flags().Bool("json", false, "print JSON")
	watch := c.Flags().Bool("watch", false, "follow until Ctrl-C: a terminal shows the newest state, a pipe gets a line for each new sentence, --json prints a line a second")
	c.RunE = func(c *cobra.Command, _ []string) error {
		client, err := p.client(*file)
		if err != nil {
			return err
		}
		if *watch {
			return p.watchStatus(c.Context(), client, *asJSON)
		}
		s, err := client.Status(c.Context())
		if err != nil {
			return statusError(err)
		}
		if *asJSON {
			err = p.printJSON(s)
		} else {
			_, err = io.WriteString(p.stdout, p.statusText(s))
		}
		if err != nil {
			return err
		}
		return statusCode(s)
	}
	return c
}

// statusError is for a bridge that does not answer.
func statusError(err error) error { return codeError{exitUsage, err} }

// statusCode is the exit code of a bridge that has answered.
func statusCode(s admin.StatusAnswer) error {
	switch {
	case !s.Accepting:
		return codeError{code: exitUsage}
	case s.Sentence.Level != admin.Good:
		return codeError{code: exitFailed}
	}
	return nil
}

// watchStatus shows the state until ctx ends. A bridge that does not answer is waited
// for.
func (p *program) watchStatus(ctx context.Context, client *admin.Client, asJSON bool) error {
	var last error
	shown := ""
	for tick := time.NewTicker(statusEvery); ; {
		s, err := client.Status(ctx)
		if ctx.Err() != nil {
			return last
		}
		last = statusCode(s)
		text := p.statusText(s)
		if err != nil {
			last, text = statusError(err), visibly(err.Error())+"\n"
		}
		switch {
		case asJSON && err == nil:
			err = p.printJSON(s)
		case asJSON:
			_, err = io.WriteString(p.stderr, text)
		case isTerminal(p.stdout):
			_, err = io.WriteString(p.stdout, clearScreen+text)
		default:
			line, _, _ := strings.Cut(text, "\n")
			err = nil
			if line != shown {
				_, err = fmt.Fprintf(p.stdout, "%s  %s\n", time.Now().Format(time.DateTime), line)
				shown = line
			}
		}
		if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last
		}
	}
}

// clearScreen begins a terminal's screen anew.
const clearScreen = "\x1b[H\x1b[2J"

// statusText is the sentence, the advice and the numbers.
func (p *program) statusText(s admin.StatusAnswer) string {
	paint, width := newStyle(p.stdout, p.getenv), columns(p.stdout)
	now := admin.NewSentence(s.Status, s.RefusedRequests, time.Local) // with the times of this host
	var out strings.Builder
	colour := map[admin.Level]int{admin.Good: green, admin.Warn: bold, admin.Bad: red}[now.Level]
	fmt.Fprintln(&out, paint.paint(colour, fold(visibly(now.Text), width)))
	if now.Advice != "" {
		fmt.Fprintln(&out, strings.TrimSpace(annotate("", visibly(now.Advice), width)))
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintln(&out, fold(fmt.Sprintf("  %-13s %s", name, visibly(fmt.Sprintf(format, args...))), width))
	}
	fmt.Fprintln(&out)
	row("waiting", "%d", s.Pending)
	for _, source := range s.Sources {
		if source.OldestPending != nil {
			row("", "%s: %d, the oldest since %s", source.Name, source.Pending, source.OldestPending.Local().Format(time.DateTime))
		}
	}
	row("dead letters", "%d", s.Dead)
	row("accepted", "%d in all", s.Accepted)
	if s.JournalLimit > 0 {
		row("journal", "%s of %v", used(s.Status), config.Size(s.JournalLimit))
	} else {
		row("journal", "%s", used(s.Status))
	}
	switch {
	case s.NATS.Up:
		row("NATS", "connected since %s", s.NATS.Since.Local().Format(time.DateTime))
	case s.NATS.Since.IsZero():
		row("NATS", "connecting")
	default:
		row("NATS", "away since %s, %s", s.NATS.Since.Local().Format(time.DateTime), counted(s.NATS.Attempts, "attempt", "attempts"))
	}
	if !s.StreamMissing { // else its server has said nothing of batches
		row("published", "%v", s.Publishing)
	}
	if r := s.Replay; r != nil {
		state := "ended"
		if r.Running {
			state = "running"
		}
		row("replay", "%d %s: %d of %d published, %d failed, %d skipped", r.Number, state, r.Published, r.Matched, r.Failed, r.Skipped)
	}
	if len(s.Held) > 0 {
		fmt.Fprintf(&out, "\n%s\n", paint.paint(bold, "Held"))
	}
	for _, h := range s.Held {
		line := fmt.Sprintf("  %s %s: %d since %s", h.Source, visibly(h.Type), h.Waiting, h.Since.Local().Format(time.DateTime))
		fmt.Fprintln(&out, fold(annotate(line, visibly(h.Reason), width), width))
	}
	if len(s.Notices) > 0 {
		fmt.Fprintf(&out, "\n%s\n", paint.paint(bold, "Notices"))
	}
	for _, notice := range s.Notices {
		fmt.Fprintln(&out, annotate("  -", visibly(notice), width))
	}
	if len(s.RefusedRequests) > 0 {
		fmt.Fprintf(&out, "\n%s\n", paint.paint(bold, "Refused requests"))
	}
	for _, r := range s.RefusedRequests {
		line := fmt.Sprintf("  %s %s: %d, the last at %s from %s", r.Source, r.Reason, r.Count, r.Last.Local().Format(time.DateTime), visibly(r.Address))
		fmt.Fprintln(&out, fold(annotate(line, visibly(r.Text), width), width))
	}
	return out.String()
}

// little is what a journal's log may take beside its tables, which alone are counted; so
// the size of a smaller one is not known.
const little = 100 * config.MiB

func used(s bridge.Status) string {
	if size := config.Size(s.JournalBytes); size >= little || s.JournalLimit > 0 && config.Size(s.JournalLimit) <= 10*little {
		return roughly(s.JournalBytes).String()
	}
	return "under " + little.String()
}

// roughly is a size in its largest whole unit but one.
func roughly(bytes uint64) config.Size {
	for _, unit := range []config.Size{config.GiB, config.MiB, config.KiB} {
		if size := config.Size(bytes); size >= 10*unit {
			return size / unit * unit
		}
	}
	return config.Size(bytes)
}
