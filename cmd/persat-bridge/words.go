package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// counted is a number with its noun.
func counted[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// completions teaches the shell the values of the flags that have a known set of them:
// event types, sources of the configuration, and states.
func (p *program) completions(c *cobra.Command) {
	complete := func(flag string, values func() []string) {
		if c.Flags().Lookup(flag) == nil {
			return
		}
		err := c.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return values(), cobra.ShellCompDirectiveNoFileComp
		})
		if err != nil {
			panic(err) // the flag is there, and has no other completion
		}
	}
	complete("type", persat.Types)
	complete("source", func() []string {
		file := ""
		if f := c.Flags().Lookup("config"); f != nil {
			file = f.Value.String()
		}
		cfg, _, err := p.loadWithoutSecrets(file)
		if err != nil {
			return nil
		}
		return configured(cfg)
	})
	complete("state", func() []string {
		states := []string{string(journal.Pending), string(journal.Published), string(journal.Dead), string(journal.Discarded)}
		slices.Sort(states)
		return states
	})
	for _, sub := range c.Commands() {
		p.completions(sub)
	}
}
