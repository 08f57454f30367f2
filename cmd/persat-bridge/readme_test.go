package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

var update = flag.Bool("update", false, "write the generated parts of the documents instead of comparing them")

// The documents whose blocks tests run or generate.
const (
	readmeFile    = "../../README.md"
	eventsFile    = "../../docs/events.md"
	consumingFile = "../../docs/consuming.md"
)

func readDocument(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// between is what stands between <!-- name --> and <!-- /name -->.
func between(t *testing.T, text, name string) string {
	t.Helper()
	_, rest, opened := strings.Cut(text, "<!-- "+name+" -->\n")
	block, _, closed := strings.Cut(rest, "<!-- /"+name+" -->")
	if !opened || !closed {
		t.Fatalf("no block between <!-- %s --> and <!-- /%s -->", name, name)
	}
	return block
}

// TestEventsCatalogue keeps the table of events as the catalogue has it:
//
//	go test ./cmd/persat-bridge -run Catalogue -update
func TestEventsCatalogue(t *testing.T) {
	text := readDocument(t, eventsFile)
	have, want := between(t, text, "catalogue"), catalogueTable()
	if have == want {
		return
	}
	if !*update {
		t.Fatal("the table of events in docs/events.md is not what the catalogue says: go test ./cmd/persat-bridge -run Catalogue -update")
	}
	if err := os.WriteFile(eventsFile, []byte(strings.Replace(text, "<!-- catalogue -->\n"+have, "<!-- catalogue -->\n"+want, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// catalogueTable is the catalogue in Markdown, with a question mark behind
// whatever is inferred.
func catalogueTable() string {
	mark := func(text string, confirmed bool) string {
		if confirmed {
			return text
		}
		return text + " (?)"
	}
	var b strings.Builder
	b.WriteString("| event type | fires when | payload | identity | to know |\n|---|---|---|---|---|\n")
	for _, e := range persat.Catalogue() {
		eventType := mark("`"+e.Type+"`", e.Confirmed)
		if e.Assumed {
			eventType = "`" + e.Type + "` (name assumed)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", eventType, e.Fires, mark(string(e.Payload), e.PayloadConfirmed),
			mark("`"+e.Identity+"` "+e.IdentityType, e.IdentityConfirmed), e.Caveat)
	}
	return b.String()
}

// outline is what a translation must have in common with its original.
type outline struct {
	headings []string // "##", the levels only
	code     []string // fenced blocks, without comments
	commands []string // code spans that run persat-bridge
	events   []string // rows of the table of events
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	heading = regexp.MustCompile(`(?m)^(#+) `)
	command = regexp.MustCompile("`((?:bin/)?persat-bridge [^`]+|make [a-z-]+|go (?:run|test|build) [^`]+|nats [^`]+)`")
	row     = regexp.MustCompile("(?m)^\\| `([A-Za-z]+\\.[A-Za-z]+)`")
	label   = regexp.MustCompile(`"[^"]*"`)
	comment = regexp.MustCompile(`(?m)[ \t]*(#|//) .*$`)
)

func outlineOf(text string) outline {
	var o outline
	for _, block := range fence.FindAllString(text, -1) {
		if strings.HasPrefix(block, "```mermaid") {
			block = label.ReplaceAllString(block, `""`)
		}
		o.code = append(o.code, comment.ReplaceAllString(block, ""))
	}
	text = fence.ReplaceAllString(text, "")
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		o.headings = append(o.headings, m[1])
	}
	for _, m := range command.FindAllStringSubmatch(text, -1) {
		o.commands = append(o.commands, m[1])
	}
	slices.Sort(o.commands) // another language puts them in another order
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		o.events = append(o.events, m[1])
	}
	return o
}

// The Spanish documents say the same: the same chapters, the same code but for its
// comments, the same commands.
func TestSpanish(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.es.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../../README.es.md") {
		original := strings.TrimSuffix(file, ".es.md") + ".md"
		got, want := outlineOf(readDocument(t, file)), outlineOf(readDocument(t, original))
		compare := func(what string, got, want []string) {
			t.Helper()
			for i := range max(len(got), len(want)) {
				a, b := "nothing", "nothing"
				if i < len(got) {
					a = got[i]
				}
				if i < len(want) {
					b = want[i]
				}
				if a != b {
					t.Errorf("%s %d of %s: got %s, %s has %s", what, i+1, file, a, original, b)
					return
				}
			}
		}
		compare("heading", got.headings, want.headings)
		compare("code block", got.code, want.code)
		compare("command", got.commands, want.commands)
		compare("event", got.events, want.events)
	}
}

func TestOutline(t *testing.T) {
	const english = "# A\n\n```sh\nmake test   # all of it\n```\n\n## B\n\nRun `persat-bridge tail --json` or `make check`, `other`.\n\n| `a.b` (?) | x |\n"
	const spanish = "# Á\n\n```sh\nmake test   # todo\n```\n\n## Bé\n\n`make check` o `persat-bridge tail --json`, `otro`.\n\n| `a.b` (?) | equis |\n"
	if a, b := outlineOf(english), outlineOf(spanish); fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("got %q and %q, want them equal", a, b)
	}
	for _, change := range []string{"## B", "make test", "tail --json", "`a.b`"} {
		if a, b := outlineOf(english), outlineOf(strings.Replace(english, change, "", 1)); fmt.Sprint(a) == fmt.Sprint(b) {
			t.Errorf("without %q the outline is the same", change)
		}
	}
}
