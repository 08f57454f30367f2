package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is how wide help is: as wide as the narrowest usual terminal, so that a line of
// it can be copied whole.
const helpWidth = 80

// help is what --help prints of a command.
func help(c *cobra.Command) string {
	var b strings.Builder
	about := c.Long
	if about == "" {
		about = c.Short + "."
	}
	b.WriteString(paragraphs(about))
	b.WriteString("\nUsage:\n")
	if c.Runnable() && !c.HasSubCommands() {
		b.WriteString(fold("  "+c.UseLine(), helpWidth) + "\n")
	}
	if c.HasAvailableSubCommands() {
		b.WriteString("  " + c.CommandPath() + " COMMAND\n\nCommands:\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				const column = 14
				name := "  " + sub.Name() + strings.Repeat(" ", max(column-2-len(sub.Name()), 1))
				b.WriteString(hang(name, sub.Short, column) + "\n")
			}
		}
	}
	if c.Example != "" {
		b.WriteString("\nExamples:\n" + c.Example + "\n")
	}
	for _, part := range []struct {
		title string
		flags *pflag.FlagSet
	}{{"Flags", c.LocalFlags()}, {"Global flags", c.InheritedFlags()}} {
		if part.flags.HasAvailableFlags() {
			b.WriteString("\n" + part.title + ":\n" + strings.TrimRight(part.flags.FlagUsagesWrapped(helpWidth), " \n") + "\n")
		}
	}
	if c.HasAvailableSubCommands() {
		b.WriteString("\n" + fold("'"+c.CommandPath()+" COMMAND --help' says more of a command.", helpWidth) + "\n")
	}
	return b.String()
}

// paragraphs sets a text anew: its lines end where they are full, not where the source
// breaks them. Indented lines stay as they are.
func paragraphs(text string) string {
	var b strings.Builder
	var open []string
	flush := func() {
		if len(open) > 0 {
			b.WriteString(fold(strings.Join(open, " "), helpWidth) + "\n")
		}
		open = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case line == "":
			flush()
			b.WriteString("\n")
		case strings.HasPrefix(line, " "):
			flush()
			b.WriteString(line + "\n")
		default:
			open = append(open, line)
		}
	}
	flush()
	return b.String()
}

// hang puts a text behind a name, and its further lines below its first one.
func hang(name, text string, column int) string {
	lines := strings.Split(fold(text, helpWidth-column), "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], foldIndent)
	}
	return name + strings.Join(lines, "\n"+strings.Repeat(" ", column))
}
