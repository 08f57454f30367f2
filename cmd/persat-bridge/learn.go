package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/bridge/reason"
)

type learnOptions struct {
	journalFlags
	since  string
	stream bool
	json   bool
}

func (p *program) learnCommand() *cobra.Command {
	var o learnOptions
	c := &cobra.Command{
		Use:   "learn [--since 24h] [--json]",
		Short: "Compare what has really arrived with the catalogue",
		Long: "Compare the events that have really arrived with the catalogue: types, shapes, members, identities and states never seen\n" +
			"before, and the catalogue entries that would describe them. It reads the journal of the running bridge, or, with none\n" +
			"running or with --dir, the journal itself; with --stream, the stream. It shows event types, names of members and states,\n" +
			"and no other value of a body.",
		Args: noArgs,
	}
	o.add(c)
	c.Flags().StringVar(&o.since, "since", "", "only what was accepted since: a time, a day, or a duration back from now (default: all that is retained)")
	c.Flags().BoolVar(&o.stream, "stream", false, "read the stream instead of the journal")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		var since time.Time
		if o.since != "" {
			var err error
			if since, err = parseTime("--since", o.since, time.Now()); err != nil {
				return usageError{err}
			}
		}
		lessons, err := p.learn(c.Context(), &o, since)
		if err != nil {
			return err
		}
		if o.json {
			return p.printJSON(lessons)
		}
		p.showLessons(lessons)
		return nil
	}
	return c
}

func (p *program) learn(ctx context.Context, o *learnOptions, since time.Time) (persat.Lessons, error) {
	if o.stream {
		return p.learnStream(ctx, o.config, since)
	}
	if o.dir == "" {
		client, err := p.client(o.config)
		if err != nil {
			return persat.Lessons{}, err
		}
		var lessons persat.Lessons
		text, err := client.Learn(ctx, since)
		if err == nil {
			return lessons, json.Unmarshal(text, &lessons)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return lessons, err
		}
	}
	var lessons persat.Lessons
	err := p.reading(&o.journalFlags, func(j *journal.Journal) (err error) {
		lessons, err = learnJournal(ctx, j, since, 0)
		return err
	})
	return lessons, err
}

// explainedLessons are what was learned, with the codes of its sentences by their texts.
type explainedLessons struct {
	persat.Lessons
	NewReasons map[string]reason.Explanation `json:"new_reasons"`
}

func explainLessons(lessons persat.Lessons) explainedLessons {
	e := explainedLessons{lessons, make(map[string]reason.Explanation)}
	for _, t := range lessons.Types {
		for _, text := range t.New {
			e.NewReasons[text] = reason.Explain(text)
		}
	}
	return e
}

// learnJournal reads the newest bodies that a journal has, limit at most (0: all). A body that cannot be read is
// left out: 'journal verify' tells of those.
func learnJournal(ctx context.Context, j *journal.Journal, since time.Time, limit int) (persat.Lessons, error) {
	var l persat.Learner
	read := 0
	for e, err := range j.Newest(0) {
		if err != nil {
			return persat.Lessons{}, err
		}
		if ctx.Err() != nil {
			return persat.Lessons{}, context.Cause(ctx)
		}
		r, err := bridge.RecordOf(e)
		if err != nil {
			continue
		}
		if r.Accepted.Before(since) || limit > 0 && read == limit {
			break
		}
		read++
		if body, err := j.Body(e.Seq); err == nil {
			l.Add(body, r.Accepted)
		}
	}
	return l.Lessons(), nil
}

// learnStream reads the messages that the stream has.
func (p *program) learnStream(ctx context.Context, file string, since time.Time) (persat.Lessons, error) {
	cfg, _, err := p.loadWithoutSecrets(file)
	if err != nil {
		return persat.Lessons{}, err
	}
	js, hangUp, err := dialConfigured(ctx, cfg, "persat-bridge learn")
	if err != nil {
		return persat.Lessons{}, err
	}
	defer hangUp()
	name := cfg.NATS.Stream.Name
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return persat.Lessons{}, fmt.Errorf("read stream %s: %w", name, err)
	}
	var l persat.Learner
	if stream.CachedInfo().State.Msgs == 0 {
		return l.Lessons(), nil
	}
	o := jetstream.OrderedConsumerConfig{}
	if !since.IsZero() {
		o.DeliverPolicy, o.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	consumer, err := js.OrderedConsumer(ctx, name, o)
	if err != nil {
		return persat.Lessons{}, fmt.Errorf("read stream %s: %w", name, err)
	}
	defer forget(ctx, js, name, consumer)
	for {
		batch, err := consumer.FetchNoWait(500)
		if err != nil {
			return persat.Lessons{}, fmt.Errorf("read stream %s: %w", name, err)
		}
		n := 0
		for m := range batch.Messages() {
			n++
			at := time.Time{}
			if meta, err := m.Metadata(); err == nil {
				at = meta.Timestamp
			}
			l.Add(m.Data(), at)
		}
		if err := batch.Error(); err != nil {
			return persat.Lessons{}, fmt.Errorf("read stream %s: %w", name, err)
		}
		if n == 0 {
			return l.Lessons(), nil
		}
	}
}

func (p *program) showLessons(l persat.Lessons) {
	paint := newStyle(p.stdout, p.getenv)
	for _, t := range l.Types {
		state := ""
		switch {
		case t.Assumed:
			state = "  (name assumed)"
		case !t.Known:
			state = "  (not in the catalogue)"
		}
		fmt.Fprintf(p.stdout, "%s%s\n  %s, first %s, last %s\n", paint.paint(bold, visibly(t.Type)), state, counted(t.Events, "event", "events"),
			t.First.Local().Format(time.DateTime), t.Last.Local().Format(time.DateTime))
		for _, text := range t.New {
			fmt.Fprintf(p.stdout, "  %s %s\n", paint.paint(green, "new:"), visibly(text))
		}
		if !t.Known {
			fmt.Fprintf(p.stdout, "  catalogue entry:\n    %s\n", visibly(strings.ReplaceAll(t.Entry(), "\n", "\n    ")))
		}
	}
	fmt.Fprintf(p.stdout, "%s of %s", counted(l.Events, "event", "events"), counted(len(l.Types), "type", "types"))
	if l.Unusable > 0 {
		fmt.Fprintf(p.stdout, ", %s", counted(l.Unusable, "body that is no event", "bodies that are no events"))
	}
	switch l.New {
	case 0:
		fmt.Fprintln(p.stdout, "; no findings for the catalogue")
	case 1:
		fmt.Fprintln(p.stdout, "; 1 finding for the catalogue")
	default:
		fmt.Fprintf(p.stdout, "; %d findings for the catalogue\n", l.New)
	}
}
