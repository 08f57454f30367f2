// Persat-bridge takes the webhooks of Persat, makes each one durable, answers,
// and publishes it to NATS JetStream. See README.md, and package bridge for what
// it promises.
//
// This directory is the wiring: a file for each subcommand, app.go for the
// bridge in its parts, config for what can be configured. Dependencies of the
// command alone: cobra for the command line, progressbar for send and replay, x/term to
// know a terminal, the OpenTelemetry SDK to send traces.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
)

func main() {
	useProcessors()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // while running
	exitUsage  = 2 // bad usage or bad configuration
)

// program is what a command has of the world.
type program struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
	log            *logWriter // nil: the command has no log
}

// logTo makes the command's errors follow its log through out, which run closes.
func (p *program) logTo(out *logWriter) { p.stderr, p.log = out, out }

// usageError is a mistake in the command line.
type usageError struct{ error }

// errQuiet ends the command with exitFailed after it has reported why itself.
var errQuiet = errors.New("reported already")

// codeError ends the command with an exit code of its own, and with words unless it has
// reported all.
type codeError struct {
	code int
	error
}

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr}
	root := p.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if p.log != nil {
		defer p.log.Close()
	}
	if err == nil {
		return exitDone
	}
	if mistakes, ok := errors.AsType[config.Mistakes](err); ok {
		for _, m := range mistakes {
			p.warn("%s\n", m)
		}
		return exitUsage
	}
	if errors.Is(err, errQuiet) {
		return exitFailed
	}
	code, ok := errors.AsType[codeError](err)
	if ok && code.error == nil {
		return code.code
	}
	p.warn("persat-bridge: %s\n", visibly(err.Error()))
	if ok {
		return code.code
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "persat-bridge",
		Short:         "Persat's webhooks, durable, to NATS JetStream",
		Long:          "persat-bridge receives the webhooks of Persat, makes each one durable, answers at once,\nand publishes it to NATS JetStream. Start with: persat-bridge demo",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("no command; 'persat-bridge --help' lists them, 'persat-bridge demo' shows what it does")}
		},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%s; see '%s --help'", flagMistake(err), c.CommandPath())}
	})
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { fmt.Fprint(p.stdout, help(c)) })
	root.Version = thisVersion()
	root.SetVersionTemplate(versionLine())
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(p.serveCommand(), p.demoCommand(), p.sendCommand(), p.captureCommand(), p.registerCommand(), p.tailCommand(),
		p.checkCommand(), p.statusCommand(), p.deadCommand(), p.replayCommand(), p.streamCommand(), p.alertsCommand(), p.journalCommand(), p.learnCommand(), p.asyncapiCommand(), p.healthcheckCommand(), p.versionCommand())
	p.completions(root)
	return root
}

// flagMistake is an error of the flag parser without the name of a function of Go's.
func flagMistake(err error) string {
	number, ok := errors.AsType[*strconv.NumError](err)
	if !ok {
		return err.Error()
	}
	wanted := "not a number"
	switch {
	case number.Func == "ParseBool":
		wanted = "neither true nor false"
	case errors.Is(number, strconv.ErrRange):
		wanted = "too large a number"
	case number.Func == "ParseInt":
		wanted = "not a whole number"
	}
	return strings.TrimSuffix(err.Error(), number.Error()) + wanted
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		c.SuggestionsMinimumDistance = 2
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			return usageError{fmt.Errorf("unknown command or argument %q for '%s': did you mean '%s %s'?", args[0], c.CommandPath(), c.CommandPath(), near[0])}
		}
		return usageError{fmt.Errorf("unknown command or argument %q for '%s'; see '%s --help'", args[0], c.CommandPath(), c.CommandPath())}
	}
	return nil
}

// configFlag gives c the flag that names the configuration.
func configFlag(c *cobra.Command) *string {
	return c.Flags().StringP("config", "c", "", "configuration file (default: ./config.yaml when it exists)")
}

// load reads the configuration. Its error is config.Mistakes.
func (p *program) load(file string) (*config.Config, []config.Warning, error) {
	return config.Load(file, p.environ)
}

// loadWithoutSecrets is load for commands that answer no sender: the sources'
// secrets need not be there.
func (p *program) loadWithoutSecrets(file string) (*config.Config, []config.Warning, error) {
	return config.LoadWithoutSecrets(file, p.environ)
}

// getenv is the value of a variable of the environment.
func (p *program) getenv(name string) string {
	for _, entry := range p.environ {
		if len(entry) > len(name) && entry[len(name)] == '=' && entry[:len(name)] == name {
			return entry[len(name)+1:]
		}
	}
	return ""
}
