package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/admin"
)

func (p *program) replayCommand() *cobra.Command {
	var o operatorFlags
	c := &cobra.Command{
		Use:   "replay --since … [--until …] [--type …] [--source …] [--id …]",
		Short: "Publish retained events again",
		Long: "Publish events again that the journal of the running bridge still keeps (journal.retention), in order per entity,\n" +
			"under new message ids (…:r<n>) and with a Persat-Replay header. New events do not wait behind them.",
		Args: noArgs,
	}
	o.add(c)
	f := c.Flags()
	f.StringVar(&o.query.Until, "until", "", "only before then, written like --since")
	f.StringSliceVar(&o.query.IDs, "id", nil, "only these record numbers or delivery ids")
	f.BoolVar(&o.query.All, "all", false, "all that is retained")
	f.BoolVar(&o.query.Missing, "missing", false, "only events that the stream lacks for no known reason; a notice gives their number")
	f.BoolVar(&o.query.DryRun, "dry-run", false, "only count")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	c.AddCommand(p.replayCancelCommand())
	c.RunE = func(c *cobra.Command, _ []string) error {
		if o.query.Empty() && !o.query.All {
			return usageError{errors.New("say which events: --since, --until, --type, --source, --id, --missing, or --all")}
		}
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
		return p.replay(c.Context(), client, &o)
	}
	return c
}

func (p *program) replayCancelCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "cancel",
		Short: "End the replay that runs; what it has published stays",
		Args:  noArgs,
	}
	file := configFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		client, err := p.client(*file)
		if err != nil {
			return err
		}
		r, err := client.Replay(c.Context())
		if err != nil {
			return err
		}
		if !r.Running {
			return fmt.Errorf("no replay is running: replay %d has ended at %s", r.Number, r.Ended.Local().Format(time.DateTime))
		}
		if err := client.CancelReplay(c.Context()); err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "replay %d is cancelled: %d of %d events were published\n", r.Number, r.Published, r.Matched)
		return err
	}
	return c
}

func (p *program) replay(ctx context.Context, client *admin.Client, o *operatorFlags) error {
	dry := o.query
	dry.DryRun = true
	count, err := client.StartReplay(ctx, dry)
	if err != nil {
		return err
	}
	if o.query.DryRun {
		if o.json {
			return p.printJSON(count)
		}
		fmt.Fprintf(p.stdout, "%s would be published again\n", counted(count.Matched, "event", "events"))
		return nil
	}
	if count.Matched == 0 {
		if o.query.Type != "" {
			return fmt.Errorf("no retained event of type %s: 'persat-bridge status' counts what there is, and journal.retention says how long it is kept", shown(o.query.Type, 80))
		}
		return errors.New("no retained event fits")
	}
	if err := p.confirm(o.yes, fmt.Sprintf("publish %s again?", counted(count.Matched, "event", "events"))); err != nil {
		return err
	}
	started, err := client.StartReplay(ctx, o.query)
	if err != nil {
		return err
	}
	return p.followReplay(ctx, client, *started.Replay, o.json)
}

// followReplay shows how far it is until it has ended. To stop following does
// not stop the replay.
func (p *program) followReplay(ctx context.Context, client *admin.Client, r bridge.Replay, asJSON bool) error {
	bar := progressbar.DefaultSilent(int64(r.Matched))
	if isTerminal(p.stderr) {
		bar = progressbar.NewOptions(r.Matched, progressbar.OptionSetWriter(p.stderr), progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionClearOnFinish())
	}
	number := r.Number
	for r.Running {
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("no longer following replay %d, which goes on", number)
		}
		var err error
		if r, err = client.Replay(ctx); err != nil {
			return err
		}
		if r.Number != number {
			return fmt.Errorf("replay %d is over, and another one runs", number)
		}
		_ = bar.Set(r.Published + r.Failed + r.Skipped)
	}
	_ = bar.Finish()
	if asJSON {
		return p.printJSON(r)
	}
	if err := p.say("replay %d: %d published, %d skipped (no longer kept, cancelled, or published again after a loss), %d failed, in %s\n", r.Number, r.Published, r.Skipped, r.Failed, r.Ended.Sub(r.Started).Round(time.Millisecond)); err != nil {
		return err
	}
	if r.Failed > 0 {
		return fmt.Errorf("%s refused, the last one: %s", counted(r.Failed, "event was", "events were"), shown(r.Reason, 200))
	}
	return nil
}
