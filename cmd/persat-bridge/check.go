package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/autoconfig"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
	"github.com/persat-bridge/persat-bridge/publisher"
)

type checkOptions struct {
	config        string
	connect, json bool
}

func (p *program) checkCommand() *cobra.Command {
	var o checkOptions
	c := &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration, all mistakes at once; with --connect, NATS too",
		Long: "Validate the configuration, all mistakes at once, and warn of what would keep 'serve' from starting on this host. With --connect, ask NATS too: whether the stream is there and takes every\n" +
			"subject, its limits, and the permissions. Nothing is stored or changed.\n" +
			"Exit code 2 when the configuration is wrong, 1 when there is an error among the findings.",
		Example: "  persat-bridge check -c config.yaml\n  persat-bridge check --connect",
		Args:    noArgs,
	}
	f := c.Flags()
	f.StringVarP(&o.config, "config", "c", "", "configuration file (default: ./config.yaml when it exists)")
	f.BoolVar(&o.connect, "connect", false, "ask NATS too")
	f.BoolVar(&o.json, "json", false, "print a JSON list of findings")
	c.RunE = func(c *cobra.Command, _ []string) error { return p.check(c.Context(), o) }
	return c
}

func (p *program) check(ctx context.Context, o checkOptions) error {
	cfg, warnings, err := p.load(o.config)
	var findings []publisher.Finding
	for _, w := range warnings {
		if o.json {
			findings = append(findings, publisher.Finding{Level: publisher.Warning, Text: w.String(), Key: w.Key})
		} else {
			p.warn("warning: %s\n", w)
		}
	}
	if mistakes, wrong := errors.AsType[config.Mistakes](err); wrong && o.json {
		for _, m := range mistakes {
			findings = append(findings, publisher.Finding{Level: publisher.Error, Text: m.String(), File: m.File, Line: m.Line, Key: m.Key})
		}
		return errors.Join(err, p.printJSON(findings))
	}
	if err != nil {
		return err
	}
	summary := fmt.Sprintf("%s, webhooks on %s, journal in %s, NATS %s, stream %s",
		counted(len(cfg.Sources), "source", "sources"), cfg.Server.Listen, cfg.Journal.Dir, natsName(cfg), cfg.NATS.Stream.Name)
	if o.json {
		findings = append(findings, publisher.Finding{Level: publisher.OK, Text: "configuration: " + summary})
	} else if err := p.say("configuration ok: %s\n", summary); err != nil {
		return err
	}
	findings = append(findings, autoConfigNotes(cfg)...)
	findings = append(findings, checkHost(cfg)...)
	if o.connect {
		findings = append(findings, checkNATS(ctx, cfg)...)
	}
	if o.json {
		err = p.printJSON(findings)
	} else {
		err = p.printFindings(findings)
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(findings, func(f publisher.Finding) bool { return f.Level == publisher.Error }) {
		return errQuiet
	}
	return nil
}

// autoConfigNotes says which endpoints the AutoConfig tokens among the secrets are for.
func autoConfigNotes(cfg *config.Config) []publisher.Finding {
	var notes []publisher.Finding
	for _, name := range slices.Sorted(maps.Keys(cfg.Sources)) {
		for _, secret := range cfg.Sources[name].Secrets {
			if token, err := autoconfig.Parse(secret.Reveal()); err == nil {
				notes = append(notes, publisher.Finding{Level: publisher.Note, Text: fmt.Sprintf("sources.%s.secrets: an AutoConfig token, %s; 'persat-bridge register' sets or compares it", name, token)})
			}
		}
	}
	return notes
}

// natsName names the NATS that the configuration chooses.
func natsName(cfg *config.Config) string {
	switch {
	case cfg.NATS.Embedded.Enabled:
		return "embedded"
	case cfg.NATS.Context != "":
		return "context " + cfg.NATS.Context
	}
	return cfg.NATS.URL.String()
}

func (p *program) printFindings(findings []publisher.Finding) error {
	paint := newStyle(p.stdout, p.getenv)
	for _, f := range findings {
		colour := map[string]int{publisher.OK: green, publisher.Warning: bold, publisher.Error: red, publisher.Note: faint}[f.Level]
		if err := p.say("%s %s\n", paint.paint(colour, f.Level+":"), visibly(f.Text)); err != nil {
			return err
		}
	}
	return nil
}

// checkNATS asks the server that the configuration names. The embedded one can be
// asked from here while its bridge runs and it listens.
func checkNATS(ctx context.Context, cfg *config.Config) []publisher.Finding {
	o := publisherOptions(cfg, nil, zap.NewNop())
	o.Connect.Name = "persat-bridge check"
	// How often a server syncs is told to nobody but its system account.
	synced := publisher.Finding{Level: publisher.Note, Text: "sync_interval cannot be seen from here; set sync_interval: always on the servers, else the bridge heals what a power loss takes"}
	if listen := cfg.NATS.Embedded.Listen; cfg.NATS.Embedded.Enabled {
		if listen == "" {
			return []publisher.Finding{{Level: publisher.OK, Text: "the embedded server does not listen (nats.embedded.listen), so it cannot be asked from here: the status page has what there is to know"}}
		}
		o.Connect.URL = "nats://" + reachable(listen)
		if !answers(ctx, reachable(listen)) {
			return []publisher.Finding{{Level: publisher.OK, Text: fmt.Sprintf("the embedded server does not run (nothing listens on %s): there is nothing to ask yet; 'persat-bridge serve' starts it", listen)}}
		}
		if cfg.NATS.Embedded.MaxStore == 0 && onOneDisk(cfg.NATS.Embedded.StoreDir, cfg.Journal.Dir) {
			o.JournalDiskStore = cfg.NATS.Embedded.StoreDir
		}
		synced.Text = "the embedded server syncs every message before it acknowledges"
	}
	return append(publisher.Check(ctx, o, int64(cfg.Server.MaxBodyBytes)), synced)
}

func answers(ctx context.Context, address string) bool {
	c, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = c.Close() // it was only to see
	return true
}
