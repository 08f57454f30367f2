package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/admin"
)

// operatorFlags are what the commands share that talk to a running bridge.
type operatorFlags struct {
	config string
	query  admin.Query
	yes    bool
	json   bool
}

func (o *operatorFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&o.config, "config", "c", "", "configuration file; its admin keys say where the bridge is (default: ./config.yaml when it exists)")
	f.StringVar(&o.query.Type, "type", "", "only this event type")
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
	return nil
}

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
	if name == "replay" || name == "discard" {
		c.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	}
	c.RunE = func(c *cobra.Command, ids []string) error {
		o.query.IDs = ids
		if err := o.times(); err != nil {
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
		fmt.Fprintln(p.stdout, annotate(line, visibly(d.Reason), width))
	}
	return nil
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
	for _, d := range page.Dead {
		full, err := client.Event(c.Context(), d.Record)
		if err != nil {
			return err
		}
		if o.json {
			if err := p.printJSON(full); err != nil {
				return err
			}
			continue
		}
		p.showRecord(full)
	}
	return nil
}

func (p *program) showRecord(r bridge.Record) {
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
		fmt.Fprintf(p.stdout, "  %-12s %s\n", line[0], visibly(line[1]))
	}
	fmt.Fprintf(p.stdout, "  %-12s %d bytes\n%s\n\n", "body", len(r.Body), indented(r.Body))
}

func (p *program) deadReplay(c *cobra.Command, client *admin.Client, o *operatorFlags) error {
	return p.changeDead(c, client, o, "replay", func() error {
		n, err := client.ReplayDead(c.Context(), o.query)
		if err != nil {
			return err
		}
		if o.json {
			return p.printJSON(n)
		}
		fmt.Fprintf(p.stdout, "%d are pending again\n", n.Changed)
		if n.Refused > 0 {
			return fmt.Errorf("%d have no usable event type and cannot be published: 'dead show' them, then 'dead discard'", n.Refused)
		}
		return nil
	})
}

func (p *program) deadDiscard(c *cobra.Command, client *admin.Client, o *operatorFlags) error {
	return p.changeDead(c, client, o, "discard", func() error {
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
func (p *program) changeDead(c *cobra.Command, client *admin.Client, o *operatorFlags, verb string, change func() error) error {
	if o.query.Empty() && !o.query.All {
		return usageError{fmt.Errorf("name the dead letters to %s by ID or filter, or say --all", verb)}
	}
	look := client.Dead // how many there are
	if len(o.query.IDs)+len(o.query.Records) > 0 {
		look = client.AllDead
	}
	page, err := look(c.Context(), o.query)
	if err != nil {
		return err
	}
	if err := o.unknown(page.Dead); err != nil {
		return fmt.Errorf("%w: nothing was changed", err)
	}
	if page.Total == 0 {
		return errors.New("no dead letter fits")
	}
	o.query.Until = page.Now.Format(time.RFC3339Nano) // what has died since was not asked about
	if err := p.confirm(o.yes, fmt.Sprintf("%s %d dead letter(s)?", verb, page.Total)); err != nil {
		return err
	}
	return change()
}

// confirm asks on stderr, so that stdout stays what the command is for.
func (p *program) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	fmt.Fprintf(p.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	if answer == "" && err != nil {
		fmt.Fprintln(p.stderr)
		return usageError{errors.New("nobody answered: say --yes to go on without being asked")}
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
