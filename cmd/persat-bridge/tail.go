package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
	"github.com/persat-bridge/persat-bridge/publisher"
)

// tailOptions say which events are shown, and how. Filters of different kinds
// all have to fit; of one kind, any.
type tailOptions struct {
	subject  string
	types    []string // may have wildcards, as subjects do
	entities []string
	since    string
	json     bool
}

func (p *program) tailCommand() *cobra.Command {
	var o tailOptions
	c := &cobra.Command{
		Use:   "tail",
		Short: "Show events as they arrive in the stream",
		Long: "Show events as they arrive in the stream: when JetStream stored them, the subject, the entity, its state, and how\n" +
			"long they took from the webhook to there. It follows until Ctrl-C, over a restart of NATS too.",
		Example: "  persat-bridge tail --type workorder.closed\n  persat-bridge tail --type 'delivery.*' --since 10m\n  persat-bridge tail --entity 48 --since 2024-02-09T00:00:00-03:00 --json",
		Args:    noArgs,
	}
	file := configFlag(c)
	f := c.Flags()
	f.StringVar(&o.subject, "subject", "", "only subjects like this one, wildcards as in NATS (default: all of the stream)")
	f.StringSliceVar(&o.types, "type", nil, "only this event type, or like 'workorder.*'; may be repeated")
	f.StringArrayVar(&o.entities, "entity", nil, "only events about this entity; may be repeated")
	f.StringVar(&o.since, "since", "", "begin in the past: 10m (that long ago), or at a time such as 2024-02-09T12:00:00Z (default: now)")
	f.BoolVar(&o.json, "json", false, "one JSON object a line")
	c.RunE = func(c *cobra.Command, _ []string) error {
		consumer, err := o.consumer(time.Now())
		if err != nil {
			return usageError{err}
		}
		cfg, _, err := p.loadWithoutSecrets(*file)
		if err != nil {
			return err
		}
		if o.subject == "" {
			consumer.FilterSubjects = o.subjects(cfg)
		}
		return p.tail(c.Context(), cfg, o, consumer)
	}
	return c
}

// consumer says from where to read. Its errors are mistakes in the flags.
func (o *tailOptions) consumer(now time.Time) (jetstream.OrderedConsumerConfig, error) {
	c := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy}
	for _, t := range o.types {
		if !server.IsValidSubject(t) {
			return c, fmt.Errorf("--type: %q is no event type and no pattern of one, as in 'workorder.*'", t)
		}
	}
	if o.subject != "" {
		if !server.IsValidSubject(o.subject) {
			return c, fmt.Errorf("--subject: %q is no subject", o.subject)
		}
		c.FilterSubjects = []string{o.subject}
	}
	if o.since == "" {
		return c, nil
	}
	start, err := time.Parse(time.RFC3339, o.since)
	if err != nil {
		ago, err := time.ParseDuration(o.since)
		if err != nil || ago < 0 {
			return c, fmt.Errorf("--since: %q is neither a duration such as 10m nor a time such as 2024-02-09T12:00:00Z", o.since)
		}
		start = now.Add(-ago)
	}
	c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	return c, nil
}

// subjects are the filters that spare the server sending the other types; nil
// when there are none, or when they overlap, which the server refuses. The
// messages are looked at again anyway.
func (o *tailOptions) subjects(cfg *config.Config) []string {
	var subjects []string
	for _, name := range slices.Sorted(maps.Keys(cfg.Sources)) {
		for _, t := range o.types {
			subjects = append(subjects, cfg.Sources[name].SubjectPrefix+"."+t)
		}
	}
	for i, a := range subjects {
		for _, b := range subjects[:i] {
			if server.SubjectsCollide(a, b) {
				return nil
			}
		}
	}
	return subjects
}

// dialConfigured connects a tool to the NATS that the configuration names; when
// that is embedded, to where the running bridge has it listen.
func dialConfigured(ctx context.Context, cfg *config.Config, name string, more ...nats.Option) (jetstream.JetStream, func(), error) {
	o := connectOptions(cfg, nil)
	if cfg.NATS.Embedded.Enabled {
		if cfg.NATS.Embedded.Listen == "" {
			return nil, nil, errors.New("nats.embedded.listen is empty: the embedded server cannot be reached from another process")
		}
		o = publisher.ConnectOptions{URL: "nats://" + reachable(cfg.NATS.Embedded.Listen)}
	}
	o.Name = name
	nc, err := publisher.Dial(ctx, o, more...)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return js, nc.Close, nil
}

// keepConnected makes a connection come back by itself, other than the bridge's
// own: a reader has nothing to look at before it goes on.
func keepConnected(o *nats.Options) error {
	o.AllowReconnect, o.MaxReconnect, o.ReconnectWait = true, -1, 500*time.Millisecond
	return nil
}

func (p *program) tail(ctx context.Context, cfg *config.Config, o tailOptions, c jetstream.OrderedConsumerConfig) error {
	js, hangUp, err := dialConfigured(ctx, cfg, "persat-bridge tail", keepConnected)
	if err != nil {
		return err
	}
	defer hangUp()
	consumer, err := js.OrderedConsumer(ctx, cfg.NATS.Stream.Name, c)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", cfg.NATS.Stream.Name, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("read stream %s: %w", cfg.NATS.Stream.Name, err)
	}
	defer context.AfterFunc(ctx, messages.Stop)()
	paint := newStyle(p.stdout, p.getenv)
	for {
		m, err := messages.Next()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read stream %s: %w", cfg.NATS.Stream.Name, err)
		}
		t, err := readTailed(m)
		if err != nil {
			return err
		}
		if !o.wants(t) {
			continue
		}
		if o.json {
			err = json.NewEncoder(p.stdout).Encode(t)
		} else {
			_, err = fmt.Fprintln(p.stdout, t.line(paint))
		}
		if err != nil {
			return err
		}
	}
}

// tailed is one message as 'tail --json' prints it.
type tailed struct {
	Sequence uint64    `json:"sequence"`
	Stored   time.Time `json:"stored"`
	Subject  string    `json:"subject"`
	Type     string    `json:"type"`
	Entities []string  `json:"entities"`
	// State is that of the entities, when they all have the same.
	State string `json:"state,omitempty"`
	// LatencyMS is from the acceptance by the webhook to the stream, in
	// milliseconds; null when the message does not say when it was accepted.
	LatencyMS *float64          `json:"latency_ms"`
	Headers   map[string]string `json:"headers"`
	Data      json.RawMessage   `json:"data"`
}

// readTailed reads a message of whoever published it: what is no event of
// Persat's is shown all the same.
func readTailed(m jetstream.Msg) (*tailed, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	t := &tailed{
		Sequence: meta.Sequence.Stream,
		Stored:   meta.Timestamp.UTC(),
		Subject:  m.Subject(),
		Entities: []string{},
		Headers:  make(map[string]string),
		Data:     m.Data(),
	}
	for name, values := range m.Headers() {
		t.Headers[name] = values[0]
	}
	t.Type = decodeHeader(t.Headers["ce-type"])
	if accepted, err := time.Parse(time.RFC3339Nano, t.Headers["ce-time"]); err == nil {
		ms := float64(meta.Timestamp.Sub(accepted).Microseconds()) / 1000
		t.LatencyMS = &ms
	}
	if entity := decodeHeader(t.Headers["ce-subject"]); entity != "" {
		t.Entities = []string{entity}
	}
	if event, err := persat.Parse(m.Data()); err == nil {
		t.Type = event.Type
		if event.Entities != nil {
			t.Entities = event.Entities
		}
		t.State = commonState(event)
	} else if !json.Valid(m.Data()) {
		if t.Data, err = json.Marshal(string(m.Data())); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// decodeHeader undoes the percent-encoding of a CloudEvents header.
func decodeHeader(value string) string {
	if text, err := url.PathUnescape(value); err == nil {
		return text
	}
	return value
}

func commonState(event *persat.Event) string {
	snapshots := event.Snapshots()
	for _, s := range snapshots {
		if s.State != snapshots[0].State {
			return ""
		}
	}
	if len(snapshots) == 0 {
		return ""
	}
	return snapshots[0].State
}

// wants says whether the filters let a message through.
func (o *tailOptions) wants(t *tailed) bool {
	if len(o.types) > 0 && !slices.ContainsFunc(o.types, func(pattern string) bool { return server.SubjectMatchesFilter(t.Type, pattern) }) {
		return false
	}
	return len(o.entities) == 0 || slices.ContainsFunc(o.entities, func(e string) bool { return slices.Contains(t.Entities, e) })
}

// line is the message for people. What a stranger wrote in it cannot steer the
// terminal.
func (t *tailed) line(paint style) string {
	entity := ""
	if len(t.Entities) > 0 {
		entity = shown(t.Entities[0], 28)
	}
	if more := len(t.Entities) - 1; more > 0 {
		entity += " +" + strconv.Itoa(more)
	}
	latency := "-"
	if t.LatencyMS != nil {
		latency = millis(time.Duration(*t.LatencyMS * float64(time.Millisecond)))
	}
	stored := t.Stored.Local().Format("15:04:05.000")
	if time.Since(t.Stored) > 12*time.Hour {
		stored = t.Stored.Local().Format("2006-01-02 15:04:05")
	}
	return fmt.Sprintf("%s  %-30s  %-18s %-24s %10s", paint.paint(faint, stored), shown(t.Subject, 80), entity, shown(t.State, 40), latency)
}

// shown is text on one line, shortened, without control characters.
func shown(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
