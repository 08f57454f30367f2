package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
	// limit ends after so many events, 0 for never; noFollow at the end of what is there.
	limit    int
	noFollow bool
}

func (p *program) tailCommand() *cobra.Command {
	var o tailOptions
	c := &cobra.Command{
		Use:   "tail",
		Short: "Show events as they arrive in the stream",
		Long: "Show events as they arrive in the stream: when JetStream stored them, the subject, the entity, its state, and how\n" +
			"long they took from the webhook to there, and which replay sent them again. It follows until Ctrl-C, over a restart of NATS too.",
		Example: "  persat-bridge tail --type workorder.closed\n  persat-bridge tail --since 1h --no-follow --limit 20\n  persat-bridge tail --type 'delivery.*' --since 10m\n  persat-bridge tail --entity 48 --since 2024-02-09T00:00:00-03:00 --json",
		Args:    noArgs,
	}
	file := configFlag(c)
	f := c.Flags()
	f.StringVar(&o.subject, "subject", "", "only subjects like this one, wildcards as in NATS (default: all of the stream)")
	f.StringSliceVar(&o.types, "type", nil, "only this event type, or like 'workorder.*'; may be repeated")
	f.StringArrayVar(&o.entities, "entity", nil, "only events about this entity; may be repeated")
	f.StringVar(&o.since, "since", "", "begin in the past: "+timesRead+" (default: now)")
	f.BoolVar(&o.json, "json", false, "one JSON object a line")
	f.IntVar(&o.limit, "limit", 0, "end after so many events (default: never)")
	f.BoolVar(&o.noFollow, "no-follow", false, "end with the last event that is there now; without --since, all of them are shown")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if c.Flags().Changed("limit") && o.limit < 1 {
			return usageError{errors.New("--limit: a number of events, from 1 on")}
		}
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
		if o.noFollow {
			c.DeliverPolicy = jetstream.DeliverAllPolicy
		}
		return c, nil
	}
	start, err := parseTime("--since", o.since, now)
	if err != nil {
		return c, err
	}
	c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	return c, nil
}

// subjects are the filters that spare the server sending other types, and other entities
// of these types; nil when there are none, or when they overlap, which the server refuses.
// The messages are looked at again anyway. A stream can have subjects with an entity and
// without, from before its source was configured otherwise: both are asked for.
func (o *tailOptions) subjects(cfg *config.Config) []string {
	tokens := []string{"*"}
	if len(o.entities) > 0 {
		tokens = []string{persat.SubjectToken(make([]string, 2))} // an event about several may be about this one
		for _, entity := range o.entities {
			tokens = append(tokens, persat.SubjectToken([]string{entity}))
		}
	}
	var subjects []string
	for _, name := range slices.Sorted(maps.Keys(cfg.Sources)) {
		for _, t := range o.types {
			subject := cfg.Sources[name].SubjectPrefix + "." + t
			subjects = append(subjects, subject)
			if strings.HasSuffix(subject, ">") {
				continue
			}
			for _, token := range tokens {
				subjects = append(subjects, subject+"."+token)
			}
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
		o = publisher.ConnectOptions{URL: "nats://" + reachable(cfg.NATS.Embedded.Listen), Domain: cfg.NATS.Domain}
	}
	o.Name = name
	js, err := publisher.DialJetStream(ctx, o, more...)
	if err != nil {
		if cfg.NATS.Embedded.Enabled {
			err = fmt.Errorf("%w: is 'persat-bridge serve' running?", err)
		}
		return nil, nil, err
	}
	return js, js.Conn().Close, nil
}

// keepConnected makes a connection come back by itself, other than the bridge's
// own: a reader has nothing to look at before it goes on. It says when it is away.
func (p *program) keepConnected(o *nats.Options) error {
	o.AllowReconnect, o.MaxReconnect, o.ReconnectWait = true, -1, 500*time.Millisecond
	o.DisconnectedErrCB = func(_ *nats.Conn, err error) {
		if err != nil { // nil when it was us
			fmt.Fprintln(p.stderr, "NATS is away; waiting for it")
		}
	}
	o.ReconnectedCB = func(*nats.Conn) { fmt.Fprintln(p.stderr, "NATS is back") }
	return nil
}

func (p *program) tail(ctx context.Context, cfg *config.Config, o tailOptions, c jetstream.OrderedConsumerConfig) error {
	js, hangUp, err := dialConfigured(ctx, cfg, "persat-bridge tail", p.keepConnected)
	if err != nil {
		return err
	}
	defer hangUp()
	name := cfg.NATS.Stream.Name
	f := &following{js: js, stream: name, config: c, toEnd: o.noFollow, recreated: func() {
		fmt.Fprintln(p.stderr, "the stream was recreated; showing it from its beginning")
	}}
	opened := func() {
		fmt.Fprintf(p.stderr, "following %s\n", o.follows(name, publisher.Redact(js.Conn().ConnectedUrl()), c.OptStartTime))
		for _, doubt := range o.doubts(cfg, subjectsOf(ctx, js, name)) {
			fmt.Fprintf(p.stderr, "warning: %s\n", doubt)
		}
	}
	paint, width := newStyle(p.stdout, p.getenv), columns(p.stdout)
	shown := 0
	err = f.run(ctx, opened, func(m jetstream.Msg) error {
		t, err := readTailed(m)
		if err != nil || !o.wants(t) {
			return err
		}
		if o.json {
			err = p.printJSON(t)
		} else {
			_, err = fmt.Fprintln(p.stdout, t.line(paint, width, time.Now()))
		}
		if shown++; err == nil && shown == o.limit {
			return errShownAll
		}
		return err
	})
	if errors.Is(err, errShownAll) {
		return nil
	}
	return err
}

// errShownAll ends a tail that has shown what was asked for.
var errShownAll = errors.New("all is shown")

// subjectsOf is what the stream takes; nil when the server does not say.
func subjectsOf(ctx context.Context, js jetstream.JetStream, name string) []string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil
	}
	return stream.CachedInfo().Config.Subjects
}

// follows says what is waited for, where an empty screen would leave that open.
func (o *tailOptions) follows(stream, url string, since *time.Time) string {
	what := "all events"
	var only []string
	if o.subject != "" {
		only = append(only, "subject "+o.subject)
	}
	if len(o.types) > 0 {
		only = append(only, "type "+strings.Join(o.types, " or "))
	}
	if len(o.entities) > 0 {
		only = append(only, "entity "+shown(strings.Join(o.entities, " or "), 80))
	}
	if len(only) > 0 {
		what = "only " + strings.Join(only, ", ")
	}
	from, end := "from now on", "Ctrl-C ends"
	if o.noFollow {
		from, end = "from the beginning", "then ends"
	}
	if since != nil {
		layout := time.DateTime
		if sameDay(*since, time.Now()) {
			layout = time.TimeOnly
		}
		from = "since " + since.Local().Format(layout)
	}
	return fmt.Sprintf("%s at %s: %s %s; %s", stream, url, what, from, end)
}

// doubts are what keeps the filters from ever letting anything through, as far as can
// be told from the subjects of the stream.
func (o *tailOptions) doubts(cfg *config.Config, stream []string) []string {
	var doubts []string
	reaches := func(filter string) bool {
		return len(stream) == 0 || slices.ContainsFunc(stream, func(s string) bool { return server.SubjectsCollide(s, filter) })
	}
	nothing := fmt.Sprintf("stream %s has no such subject, but %s: nothing will come", cfg.NATS.Stream.Name, strings.Join(stream, ", "))
	if o.subject != "" && !reaches(o.subject) {
		doubts = append(doubts, fmt.Sprintf("--subject %s: %s", o.subject, nothing))
	}
	for _, t := range o.types {
		known := slices.ContainsFunc(persat.Types(), func(k string) bool { return server.SubjectMatchesFilter(k, t) })
		reached := o.subject != ""
		for _, source := range cfg.Sources {
			reached = reached || reaches(source.SubjectPrefix+"."+t)
			if bare, ok := strings.CutPrefix(t, source.SubjectPrefix+"."); ok && !known {
				doubts = append(doubts, fmt.Sprintf("--type %s: event types do not begin with the subject prefix: did you mean --type '%s', or --subject '%s'?", t, bare, t))
				known = true // enough said
			}
		}
		switch {
		case !reached:
			doubts = append(doubts, fmt.Sprintf("--type %s: %s", t, nothing))
		case !known:
			doubts = append(doubts, fmt.Sprintf("--type %s: no known event type is like that; 'persat-bridge send --help' lists those that are known", t))
		}
	}
	return doubts
}

// wants says whether the filters let a message through.
func (o *tailOptions) wants(t *tailed) bool {
	if len(o.types) > 0 && !slices.ContainsFunc(o.types, func(pattern string) bool { return server.SubjectMatchesFilter(t.Type, pattern) }) {
		return false
	}
	return len(o.entities) == 0 || slices.ContainsFunc(o.entities, func(e string) bool { return slices.Contains(t.Entities, e) })
}
