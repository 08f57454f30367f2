package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/admin"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
)

// operatorFlags are what the commands share that talk to a running bridge.
type operatorFlags struct {
	config string
	query  admin.Query
	yes    bool
	json   bool
	// full shows bodies whole, and output is a file for one, of 'dead show'.
	full   bool
	output string
}

func (o *operatorFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&o.config, "config", "c", "", "configuration file; its admin keys say where the bridge is (default: ./config.yaml when it exists)")
	f.StringVar(&o.query.Type, "type", "", "only this event type, or like 'workorder.*'")
	f.StringVar(&o.query.Source, "source", "", "only this source")
	f.StringVar(&o.query.Since, "since", "", "only since then: "+timesRead)
	f.BoolVar(&o.json, "json", false, "print JSON")
}

// times reads the times, and makes them absolute: the bridge is asked twice, and may
// be somewhere with other days.
func (o *operatorFlags) times() error {
	now := time.Now()
	for _, f := range []struct {
		flag  string
		value *string
	}{{"--since", &o.query.Since}, {"--until", &o.query.Until}} {
		if *f.value == "" {
			continue
		}
		t, err := parseTime(f.flag, *f.value, now)
		if err != nil {
			return usageError{err}
		}
		*f.value = t.UTC().Format(time.RFC3339Nano)
	}
	if since, until := o.query.Since, o.query.Until; since != "" && until != "" {
		from, errFrom := time.Parse(time.RFC3339Nano, since)
		to, errTo := time.Parse(time.RFC3339Nano, until)
		if errFrom == nil && errTo == nil && !from.Before(to) {
			return usageError{fmt.Errorf("--since %s is not before --until %s", from.Local().Format(time.DateTime), to.Local().Format(time.DateTime))}
		}
	}
	return nil
}

// knownSource makes sure that --source names a source of the configuration.
func (p *program) knownSource(o *operatorFlags) error {
	if o.query.Source == "" {
		return nil
	}
	cfg, _, err := p.loadWithoutSecrets(o.config)
	if err != nil {
		return err
	}
	if _, known := cfg.Sources[o.query.Source]; known {
		return nil
	}
	// One that was taken out of the configuration may still have events.
	client := &admin.Client{Address: reachable(cfg.Admin.Listen), Token: cfg.Admin.Token.Reveal()}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if s, err := client.Status(ctx); err == nil && slices.ContainsFunc(s.Sources, func(x bridge.SourceStatus) bool { return x.Name == o.query.Source }) {
		return nil
	}
	return usageError{fmt.Errorf("--source: %q is no source: there are %s", shown(o.query.Source, 80), strings.Join(configured(cfg), ", "))}
}

// configured are the sources of the configuration.
func configured(cfg *config.Config) []string { return slices.Sorted(maps.Keys(cfg.Sources)) }

// client reaches the bridge that the configuration describes.
func (p *program) client(file string) (*admin.Client, error) {
	cfg, _, err := p.loadWithoutSecrets(file)
	if err != nil {
		return nil, err
	}
	return &admin.Client{Address: reachable(cfg.Admin.Listen), Token: cfg.Admin.Token.Reveal()}, nil
}

func (p *program) deadCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dead list|show|replay|discard [ID…]",
		Short: "Look at the dead letters of a running bridge, send them again, or drop them",
		Long:  "Dead letters are events that were set aside: too large for a limit of NATS, failed too often for an unknown reason,\nor not usable. An ID is a record number or a delivery id.",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("say what to do: dead list, show, replay or discard")}
		},
	}
	c.AddCommand(
		p.deadSubcommand("list", "List dead letters, oldest first", p.deadList),
		p.deadSubcommand("show", "Show dead letters with their bodies", p.deadShow),
		p.deadSubcommand("replay", "Publish dead letters again, under new message ids", p.deadReplay),
		p.deadSubcommand("discard", "Drop dead letters for good", p.deadDiscard),
	)
	return c
}

func (p *program) deadSubcommand(name, short string, run func(*cobra.Command, *admin.Client, *operatorFlags) error) *cobra.Command {
	var o operatorFlags
	c := &cobra.Command{Use: name + " [ID…]", Short: short, Args: cobra.ArbitraryArgs}
	o.add(c)
	c.Flags().StringVar(&o.query.Reason, "reason", "", "only those whose reason contains this text")
	c.Flags().UintSliceVar(&o.query.Records, "record", nil, "only these record numbers, for an ID that is also the delivery id of another")
	c.Flags().BoolVar(&o.query.All, "all", false, "all of them")
	if name == "show" {
		c.Flags().BoolVar(&o.full, "full", false, "bodies whole, on a terminal too")
		c.Flags().StringVar(&o.output, "output", "", "write the body of the one dead letter to this file")
	}
	if name == "replay" || name == "discard" {
		c.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	}
	c.RunE = func(c *cobra.Command, ids []string) error {
		o.query.IDs = ids
		if err := o.times(); err != nil {
			return err
		}
		if err := p.knownSource(&o); err != nil {
			return err
		}
		client, err := p.client(o.config)
		if err != nil {
			return err
		}
		return run(c, client, &o)
	}
	return c
}

// unknown is an error that names the IDs that no dead letter of those has.
func (o *operatorFlags) unknown(dead []bridge.Record) error {
	var unknown []string
	for _, id := range o.query.IDs {
		if !slices.ContainsFunc(dead, func(r bridge.Record) bool { return r.ID == id || fmt.Sprint(r.Record) == id }) {
			unknown = append(unknown, id)
		}
	}
	for _, n := range o.query.Records {
		if !slices.ContainsFunc(dead, func(r bridge.Record) bool { return r.Record == uint64(n) }) {
			unknown = append(unknown, fmt.Sprint(n))
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("no dead letter fits %s", strings.Join(unknown, ", "))
	}
	return nil
}

// find asks for all that fit; an ID that none has is an error.
func (o *operatorFlags) find(ctx context.Context, client *admin.Client) (admin.DeadPage, error) {
	page, err := client.AllDead(ctx, o.query)
	if err != nil {
		return page, err
	}
	return page, o.unknown(page.Dead)
}

func (p *program) deadList(c *cobra.Command, client *admin.Client, o *operatorFlags) error {
	page, err := o.find(c.Context(), client)
	if err != nil {
		return err
	}
	if o.json {
		return p.printJSON(page)
	}
	if page.Total == 0 {
		fmt.Fprintln(p.stdout, "no dead letters")
		return nil
	}
	row := func(record, since, source, eventType, bytes string) string {
		return fmt.Sprintf("%8s  %-19s  %-10s %-24s %9s", record, since, source, eventType, bytes)
	}
	width := columns(p.stdout)
	fmt.Fprintln(p.stdout, annotate(row("RECORD", "DEAD SINCE", "SOURCE", "TYPE", "BYTES"), "REASON", width))
	for _, d := range page.Dead {
		line := row(fmt.Sprint(d.Record), d.At.Local().Format(time.DateTime), d.Source, visibly(cmp.Or(d.Type, "-")), fmt.Sprint(d.Size))
		fmt.Fprintln(p.stdout, fold(annotate(line, visibly(d.Reason), width), width))
	}
	return p.say("\n%s\n", deadSummary(page.Dead))
}

// deadSummary says how many there are, what can be done with them, and how.
func deadSummary(dead []bridge.Record) string {
	can := publishable(dead)
	switch total := counted(len(dead), "dead letter", "dead letters"); {
	case can == 0:
		return total + ", none of which can be published: persat-bridge dead discard --all"
	case can == len(dead):
		return total + ": persat-bridge dead replay --all"
	default:
		return fmt.Sprintf("%s, %d of which can be published: persat-bridge dead replay --all", total, can)
	}
}

// publishable is how many have an event type.
func publishable(dead []bridge.Record) (n int) {
	for _, d := range dead {
		if d.Type != "" {
			n++
		}
	}
	return n
}

func (p *program) deadShow(c *cobra.Command, client *admin.Client, o *operatorFlags) error {
	if o.query.Empty() && !o.query.All {
		return usageError{errors.New("name the dead letters by ID or filter, or say --all")}
	}
	page, err := o.find(c.Context(), client)
	if err != nil {
		return err
	}
	if page.Total == 0 {
		return errors.New("no dead letter fits")
	}
	if o.output != "" && page.Total != 1 {
		return usageError{fmt.Errorf("--output: %s: name one", counted(page.Total, "dead letter fits", "dead letters fit"))}
	}
	for _, d := range page.Dead {
		full, err := client.Event(c.Context(), d.Record)
		if err != nil {
			return err
		}
		if o.output != "" {
			if err := os.WriteFile(o.output, full.Body, 0o600); err != nil {
				return fmt.Errorf("--output: %w", err)
			}
			fmt.Fprintf(p.stderr, "%d bytes in %s\n", len(full.Body), o.output)
			full.Body = nil
		}
		if o.json {
			if err := p.printJSON(full); err != nil {
				return err
			}
			continue
		}
		p.showRecord(full, o)
	}
	return nil
}

// shownBody is how much of a body is shown on a terminal.
const shownBody = 4 << 10

func (p *program) showRecord(r bridge.Record, o *operatorFlags) {
	paint := newStyle(p.stdout, p.getenv)
	fmt.Fprintf(p.stdout, "%s\n", paint.paint(bold, fmt.Sprintf("record %d", r.Record)))
	since := "no more: it is " + string(r.State)
	if r.At != nil {
		since = r.At.Local().Format(time.RFC3339)
	}
	for _, line := range [][2]string{
		{"delivery id", r.ID}, {"source", r.Source}, {"type", cmp.Or(r.Type, "none that is usable")}, {"entities", cmp.Or(strings.Join(r.Entities, ", "), "none")},
		{"accepted", r.Accepted.Local().Format(time.RFC3339)}, {"dead since", since}, {"attempts", strconv.Itoa(r.Attempts)}, {"reason", r.Reason},
	} {
		fmt.Fprintln(p.stdout, fold(fmt.Sprintf("  %-12s %s", line[0], visibly(line[1])), columns(p.stdout)))
	}
	if o.output != "" {
		return
	}
	body, rest := indented(r.Body), ""
	if isTerminal(p.stdout) && !o.full && len(body) > shownBody {
		cut := shownBody
		for cut > 0 && !utf8.RuneStart(body[cut]) {
			cut--
		}
		body, rest = body[:cut], fmt.Sprintf("\n… the first %d of %d bytes; --full shows all, --output FILE keeps it", cut, len(body))
	}
	fmt.Fprintf(p.stdout, "  %-12s %d bytes\n%s%s\n\n", "body", len(r.Body), body, rest)
}

// replayed is what became of dead letters that were published again.
type replayed struct {
	admin.Changed
	// Of those that were changed, so many are in the stream, dead again, or still waiting.
	Published int `json:"published"`
	Dead      int `json:"dead"`
	Waiting   int `json:"waiting"`
}

func (p *program) deadReplay(c *cobra.Command, client *admin.Client, o *operatorFlags) error {
	return p.changeDead(c, client, o, "replay", func(dead []bridge.Record) error {
		n, err := client.ReplayDead(c.Context(), o.query)
		if err != nil {
			return err
		}
		r := replayed{Changed: n}
		again, err := p.awaitReplayed(c.Context(), client, dead, &r)
		if err != nil {
			return err
		}
		if o.json {
			err = p.printJSON(r)
		} else {
			err = p.say("%d replayed: %d published, %d dead again, %d still waiting\n", n.Changed, r.Published, r.Dead, r.Waiting)
		}
		for _, d := range again {
			p.warn("record %d is dead again: %s\n", d.Record, visibly(d.Reason))
		}
		switch {
		case err != nil:
			return err
		case n.Refused > 0:
			return unpublishable(n.Refused)
		case r.Dead > 0:
			return fmt.Errorf("%s dead again", counted(r.Dead, "is", "are"))
		case r.Waiting > 0:
			p.warn("what waits goes by itself when NATS takes it: 'persat-bridge status' says what is in the way\n")
		}
		return nil
	})
}

const (
	// replayPatience is how long dead letters that were replayed are waited for while
	// nothing becomes of any of them.
	replayPatience = 10 * time.Second
	// replayChunk is how many records are asked for at once: their numbers are in a URL.
	replayChunk = 200
)

// awaitReplayed waits for what becomes of dead letters, and returns those that are dead
// again.
func (p *program) awaitReplayed(ctx context.Context, client *admin.Client, dead []bridge.Record, r *replayed) (again []bridge.Record, err error) {
	var waiting []uint
	before := make(map[uint]time.Time)
	for _, d := range dead {
		if d.Type != "" {
			waiting = append(waiting, uint(d.Record))
			before[uint(d.Record)] = *d.At
		}
	}
	for last := time.Now(); ; {
		var left []uint
		for chunk := range slices.Chunk(waiting, replayChunk) {
			page, err := client.Events(ctx, admin.Query{Records: chunk, Limit: replayChunk})
			if err != nil {
				return again, err
			}
			for _, e := range page.Events {
				switch {
				case e.State == journal.Published:
					r.Published++
				case e.State == journal.Dead && e.At.After(before[uint(e.Record)]):
					r.Dead++
					again = append(again, e)
				default:
					left = append(left, uint(e.Record))
				}
			}
		}
		if len(left) < len(waiting) {
			last = time.Now()
		}
		waiting = left
		if len(waiting) == 0 || time.Since(last) > replayPatience {
			r.Waiting = len(waiting)
			return again, nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return again, context.Cause(ctx)
		}
	}
}

func (p *program) deadDiscard(c *cobra.Command, client *admin.Client, o *operatorFlags) error {
	return p.changeDead(c, client, o, "discard", func([]bridge.Record) error {
		n, err := client.DiscardDead(c.Context(), o.query)
		if err != nil {
			return err
		}
		if o.json {
			return p.printJSON(n)
		}
		fmt.Fprintf(p.stdout, "%d discarded\n", n.Changed)
		return nil
	})
}

// changeDead counts first, asks, and changes then.
func (p *program) changeDead(c *cobra.Command, client *admin.Client, o *operatorFlags, verb string, change func([]bridge.Record) error) error {
	if o.query.Empty() && !o.query.All {
		return usageError{fmt.Errorf("name the dead letters to %s by ID or filter, or say --all", verb)}
	}
	page, err := client.AllDead(c.Context(), o.query)
	if err != nil {
		return err
	}
	if err := o.unknown(page.Dead); err != nil {
		return fmt.Errorf("%w: nothing was changed", err)
	}
	if page.Total == 0 {
		return errors.New("no dead letter fits")
	}
	if verb == "replay" && !o.yes && publishable(page.Dead) == 0 { // a script gets the answer of the bridge
		return unpublishable(page.Total)
	}
	o.query.Until = page.Now.Format(time.RFC3339Nano) // what has died since was not asked about
	if err := p.confirm(o.yes, question(verb, page.Dead)); err != nil {
		return err
	}
	return change(page.Dead)
}

func unpublishable(n int) error {
	return fmt.Errorf("%s no usable event type and cannot be published: 'dead show' them, then 'dead discard'", counted(n, "dead letter has", "dead letters have"))
}

// question says what a change comes to.
func question(verb string, dead []bridge.Record) string {
	if can := publishable(dead); verb == "replay" && can < len(dead) {
		return fmt.Sprintf("%d of %s can be published: replay %s?", can, counted(len(dead), "dead letter", "dead letters"), map[bool]string{true: "it", false: "those"}[can == 1])
	}
	return fmt.Sprintf("%s %s?", verb, counted(len(dead), "dead letter", "dead letters"))
}

// confirm asks on stderr, so that stdout stays what the command is for.
func (p *program) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	p.warn("%s [y/N] ", question)
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	if answer == "" && err != nil {
		fmt.Fprintln(p.stderr)
		return usageError{errors.New("no answer: use --yes to skip the question")}
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes", "s", "si", "sí":
		return nil
	}
	return errors.New("nothing was changed")
}

// printJSON prints v on a line. Bodies in it are strangers'.
func (p *program) printJSON(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, visibly(string(text)))
	return err
}
