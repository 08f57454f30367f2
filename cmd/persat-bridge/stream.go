package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/bridge/admin"
)

func (p *program) streamCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "stream recreate",
		Short: "Let a running bridge create its stream again",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("say what to do: stream recreate")}
		},
	}
	c.AddCommand(p.streamRecreateCommand())
	return c
}

func (p *program) streamRecreateCommand() *cobra.Command {
	var config string
	var yes bool
	c := &cobra.Command{
		Use:   "recreate",
		Short: "Create the stream again that NATS does not find",
		Long: "Let the running bridge create a stream that NATS does not find. The bridge does not do that by itself when it has\n" +
			"published to the stream: a server that cannot read its store for a while (another JetStream key, limits too small)\n" +
			"reports the stream as missing, too, and creating it deletes what is on its disk. Use it only when the stream is lost.",
		Args: noArgs,
	}
	c.Flags().StringVarP(&config, "config", "c", "", "configuration file; its admin keys say where the bridge is (default: ./config.yaml when it exists)")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.RunE = func(c *cobra.Command, _ []string) error {
		client, err := p.client(config)
		if err != nil {
			return err
		}
		return p.recreateStream(c.Context(), client, yes)
	}
	return c
}

// recreatePatience is how long the command follows the bridge, which looks every few
// seconds.
const recreatePatience = 30 * time.Second

func (p *program) recreateStream(ctx context.Context, client *admin.Client, yes bool) error {
	if err := p.confirm(yes, "create the stream again? What NATS may still have of it on disk is deleted."); err != nil {
		return err
	}
	if err := client.RecreateStream(ctx); err != nil {
		return err
	}
	for deadline := time.Now().Add(recreatePatience); ; {
		answer, err := client.Stream(ctx)
		if err != nil {
			return err
		}
		if answer.Stream != nil {
			fmt.Fprintf(p.stdout, "stream %s was created at %s\n", answer.Stream.Name, answer.Stream.Created.Local().Format(time.DateTime))
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the bridge has not created the stream yet: %s; 'persat-bridge status' says what it waits for", answer.Error)
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("no longer following the bridge, which goes on")
		}
	}
}
