package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// The programs around the lines of README.md. Its lines show errors and handle none.
const (
	readmeGo = `package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	ctx := context.Background()
	LINES
	if err := errors.Join(err, nc.Flush()); err != nil {
		log.Fatal(err)
	}
}
`
	readmePython = `import asyncio
try:
    import nats
except ImportError:
    nats = None

async def main():
    LINES
    await nc.close()

if nats:
    asyncio.run(main())
else:
    print("nats-py is not installed")
`
	readmeNode = `let connect, jetstream;
try {
  ({ connect } = await import("@nats-io/transport-node"));
  ({ jetstream } = await import("@nats-io/jetstream"));
} catch {
  console.log("@nats-io is not installed");
  process.exit();
}
LINES
await nc.close();
`
)

// The consumers of README.md, in four languages, take one event after the other. The
// client libraries of Python and of JavaScript are not among Debian's packages: without
// them, their lines are only parsed.
func TestReadmeConsumers(t *testing.T) {
	t.Parallel()
	block := between(t, readDocument(t, readmeFile), "consume")
	bin := installNATSCLI(t)
	b := newBridgeProcess(t)
	b.Start()
	for _, id := range []string{"one", "two", "three", "four", "five"} {
		b.post(id, eventBody("workorder.closed", "48", id))
	}
	b.drained()
	commands := natsCommands{t: t, env: natsEnvironment(bin, b.dir, b.nats), live: func() { b.post("live", eventBody("workorder.closed", "49", "live")) }}
	commands.run(block, []documented{
		{"nats consumer add PERSAT", "Max Ack Pending: 1"},
		{"nats consumer next PERSAT", "ce-id: two"},
		{"nats consumer info PERSAT", "Unprocessed Messages: 3"},
		{"nats stream get PERSAT", "Nats-Msg-Id: persat:five"},
		{"nats sub ", "ce-id: live"},
	})

	next := []string{"three", "four", "five"}
	for _, language := range []struct {
		name, program, file, missing string
		command                      []string
	}{
		{"go", readmeGo, "main.go", "", []string{"go", "run"}},
		{"python", readmePython, "consume.py", "nats-py is not installed", []string{"python3"}},
		{"ts", readmeNode, "consume.mjs", "@nats-io is not installed", []string{"node"}},
	} {
		_, lines, found := strings.Cut(block, "```"+language.name+"\n")
		lines, _, closed := strings.Cut(lines, "```")
		if !found || !closed {
			t.Fatalf("README.md has no lines in %s", language.name)
		}
		if n := strings.Count(lines, "\n"); n > 5 {
			t.Errorf("the consumer in %s has %d lines, want five", language.name, n)
		}
		lines = strings.ReplaceAll(lines, "nats://127.0.0.1:4222", b.nats)
		if language.name == "python" {
			lines = strings.ReplaceAll(lines, "\n", "\n    ")
		}
		needTool(t, language.command[0], language.command[0])
		file := filepath.Join(t.TempDir(), language.file)
		if err := os.WriteFile(file, []byte(strings.Replace(language.program, "LINES", strings.TrimSpace(lines), 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), language.command[0], append(language.command[1:], file)...)
		cmd.Dir = "../.."
		output, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", language.name, err, output)
			continue
		}
		if language.missing != "" && strings.Contains(string(output), language.missing) {
			t.Logf("%s: parsed, not run: %s", language.name, output)
			continue
		}
		if !strings.Contains(string(output), next[0]+" persat.workorder.closed {") {
			t.Errorf("%s: got %s, want the event %s", language.name, output, next[0])
		}
		next = next[1:]
	}
	billing, err := natstest.JetStream(t, b.nats).Consumer(t.Context(), "PERSAT", "billing")
	if err != nil {
		t.Fatal(err)
	}
	testwait.Eventually(t, "the acknowledgements", func() bool {
		info, err := billing.Info(t.Context())
		return err == nil && info.NumAckPending == 0
	})
}

// typescriptProgram is around the lines of a document: they have the connection "nc" and
// the message "event", whose headers and body this repository's client takes.
const typescriptProgram = `import { connect } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";
import { readHeaders, type EventHeaders, type PersatEvent } from "./persat.js";
LINES
if (event) {
  const headers: EventHeaders = readHeaders(event.headers);
  const body: PersatEvent = event.json();
  console.log(headers.id, body.eventType);
}
await nc.close();
`

// tsc --strict accepts the TypeScript of the documents, and refuses it with a member
// misspelt. In place of nats.js it has the declarations of testdata.
func TestTypeScriptInDocuments(t *testing.T) {
	t.Parallel()
	tsc := needTool(t, "tsc", "tsc")
	dir := t.TempDir()
	for _, file := range []string{"../../clients/typescript/persat.d.ts", "../../clients/typescript/package.json", "testdata/typescript/nats-io.d.ts"} {
		writeFile(t, filepath.Join(dir, filepath.Base(file)), readDocument(t, file))
	}
	wrong := map[string]bool{} // files, and whether they have to be refused
	add := func(lines string, refused bool) {
		name := fmt.Sprintf("block%d.ts", len(wrong))
		wrong[name] = refused
		writeFile(t, filepath.Join(dir, name), strings.Replace(typescriptProgram, "LINES", strings.TrimSpace(lines), 1))
	}
	block := regexp.MustCompile("(?ms)^```ts\n(.*?)^```$")
	for _, text := range documents(t) {
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			add(m[1], false)
			for _, member := range []string{"servers", "consumers", "next", "headers", "subject", "string", "ack", "get"} {
				if misspelt := strings.Replace(m[1], member, member+"x", 1); misspelt != m[1] {
					add(misspelt, true)
				}
			}
		}
	}
	if len(wrong) < 10 {
		t.Fatalf("got %d programs, want those of README.md and README.es.md", len(wrong))
	}
	args := append([]string{"--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "node", "--pretty", "false", "--skipLibCheck", "--lib", "es2022", "nats-io.d.ts"},
		slices.Sorted(maps.Keys(wrong))...)
	cmd := exec.CommandContext(t.Context(), tsc, args...)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	for name, refused := range wrong {
		if got := strings.Contains("\n"+string(output), "\n"+name+"("); got != refused {
			t.Errorf("refused: %v, want %v:\n%s\n%s", got, refused, readDocument(t, filepath.Join(dir, name)), output)
		}
	}
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
