package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
)

func (p *program) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the bridge",
		Long: "Run the bridge until SIGTERM or SIGINT. SIGHUP reads the secrets of the sources and the certificate again, and\n" +
			"nothing else. A running process keeps its environment: a secret that is to be replaced has to be in a file.",
		Args: noArgs,
	}
	file := configFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error { return p.serve(c.Context(), *file) }
	return c
}

func (p *program) serve(ctx context.Context, file string) error {
	// From now on a SIGHUP ends nobody, also one that comes while the journal is read.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	cfg, warnings, err := p.load(file)
	if err != nil {
		return err
	}
	// The end of the log's reader must not be the end of the bridge.
	signal.Ignore(syscall.SIGPIPE)
	log, level, out, err := newLog(p.stderr, cfg.Log)
	if err != nil {
		return fmt.Errorf("log.level: %w", err)
	}
	p.logTo(out)
	for _, w := range warnings {
		log.Warn("configuration", zap.Stringer("warning", w))
	}
	a, err := newApp(ctx, cfg, log, level)
	if err != nil {
		return taken(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for {
			select {
			case <-hangup:
				p.reload(file, a, log)
			case <-ctx.Done():
				return
			}
		}
	}()
	return a.run(ctx)
}

// taken says what to do when one of our own addresses is in use. That of the embedded
// NATS says so itself.
func taken(err error) error {
	key, _, _ := strings.Cut(err.Error(), ":")
	if errors.Is(err, syscall.EADDRINUSE) && (key == "server.listen" || key == "admin.listen") {
		return fmt.Errorf("%w: choose another address (%s), or stop what listens there", err, key)
	}
	return err
}

// reload takes over the secrets of the configuration as it is now, and the
// certificate, each for itself. With a mistake in one it stays as it was.
func (p *program) reload(file string, a *app, log *zap.Logger) {
	taken := "secrets"
	if a.certificate != nil {
		if err := a.certificate.reload(); err != nil {
			log.Error("SIGHUP: the old certificate stays", zap.Error(err))
		} else {
			taken = "secrets and certificate"
		}
	}
	cfg, _, err := p.load(file)
	if err != nil {
		log.Error("SIGHUP: the configuration has mistakes, the old secrets stay", zap.Error(err))
		return
	}
	secrets, later := rotation(a.cfg, cfg)
	if err := a.webhook.SetSecrets(secrets); err != nil {
		log.Error("SIGHUP: the old secrets stay", zap.Error(err))
		return
	}
	log.Info("SIGHUP: " + taken + " read again; other keys need a restart")
	if len(later) > 0 {
		log.Warn("SIGHUP: these sources are new, gone or have another auth: that needs a restart", zap.Strings("sources", later))
	}
}

// rotation is what can be taken over without a restart, the secrets of sources that are
// as they were, and the names of those that are not.
func rotation(old, now *config.Config) (secrets map[string][]string, later []string) {
	secrets = make(map[string][]string)
	for name, source := range now.Sources {
		if before, ok := old.Sources[name]; ok && before.Auth == source.Auth {
			secrets[name] = reveal(source.Secrets)
		} else {
			later = append(later, name)
		}
	}
	for name := range old.Sources {
		if _, ok := now.Sources[name]; !ok {
			later = append(later, name)
		}
	}
	slices.Sort(later)
	return secrets, later
}
