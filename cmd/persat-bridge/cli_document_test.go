package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const cliFile = "../../docs/cli.md"

// TestCommandsDocument keeps docs/cli.md as the commands describe themselves. Cobra's own
// generator makes a file for each command; this is one page.
//
//	go test ./cmd/persat-bridge -run CommandsDocument -update
func TestCommandsDocument(t *testing.T) {
	var b strings.Builder
	root := (&program{}).root()
	b.WriteString("| command | does |\n|---|---|\n")
	for _, c := range root.Commands() {
		if !undocumented(c) {
			fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", c.Name(), strings.ReplaceAll(c.CommandPath(), " ", "-"), c.Short)
		}
	}
	b.WriteString("\n")
	writeCommands(&b, root)
	text := readDocument(t, cliFile)
	have, want := between(t, text, "commands"), b.String()
	if have == want {
		return
	}
	if !*update {
		t.Fatal("docs/cli.md is not what the commands say: go test ./cmd/persat-bridge -run CommandsDocument -update")
	}
	if err := os.WriteFile(cliFile, []byte(strings.Replace(text, "<!-- commands -->\n"+have, "<!-- commands -->\n"+want, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// undocumented are the commands that cobra adds.
func undocumented(c *cobra.Command) bool {
	return c.Hidden || c.Name() == "help" || c.Name() == "completion"
}

// writeCommands writes the commands below c, as their --help says.
func writeCommands(b *strings.Builder, c *cobra.Command) {
	for _, sub := range c.Commands() {
		if undocumented(sub) {
			continue
		}
		fmt.Fprintf(b, "## %s\n\n", sub.CommandPath())
		text := sub.Long
		if text == "" {
			text = sub.Short + "."
		}
		b.WriteString(strings.ReplaceAll(strings.TrimSpace(text), "<", `\<`) + "\n\n")
		if sub.Runnable() {
			fmt.Fprintf(b, "```text\n%s\n```\n\n", sub.UseLine())
		}
		if sub.Example != "" {
			var lines []string
			for line := range strings.Lines(sub.Example) {
				lines = append(lines, strings.TrimSpace(line))
			}
			fmt.Fprintf(b, "```sh\n%s\n```\n\n", strings.Join(lines, "\n"))
		}
		if flags := sub.LocalFlags().FlagUsages(); flags != "" {
			fmt.Fprintf(b, "```text\n%s```\n\n", flags)
		}
		writeCommands(b, sub)
	}
}
