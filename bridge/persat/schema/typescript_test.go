package schema_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// expression reads a member in TypeScript.
func (r sampleRead) typescript() string {
	e := "objects(event.payload)"
	for i, step := range r.steps {
		switch _, err := strconv.Atoi(step); {
		case err == nil && i == 0:
			e += "[" + step + "]"
		case err == nil || step[0] == '"':
			e += "?.[" + step + "]"
		default:
			e += "?." + step
		}
	}
	return e
}

// tsc --strict accepts a program that reads every member of every sample, and node
// finds the samples' values there and agrees with the test vectors. Every misspelled
// member is refused, read or written.
func TestTypeScript(t *testing.T) {
	node, tsc := needTool(t, "node", "nodejs"), needTool(t, "tsc", "node-typescript")
	dir := t.TempDir()
	copyFiles(t, dir, "typescript/package.json", "typescript/persat.js", "typescript/persat.d.ts")
	m := readModel(t)
	vectors, err := os.ReadFile(clients + "vectors.json")
	if err != nil {
		t.Fatal(err)
	}

	var good program
	good.line(`import { decodeHeaderValue, entityOf, objects, readHeaders, subjectToken } from "./persat.js";`)
	good.line(`import type * as persat from "./persat.js";`)
	good.line("%s", typescriptVectors)
	good.line("checkVectors(%s);", vectors)
	m.samples(t, func(n int, e persat.Entry, sample string, reads []sampleRead) {
		good.line("const written%d: persat.%s = %s;", n, eventName(e), sample)
		good.line("function read%d(event: persat.PersatEvent): void {", n)
		good.line("  if (event.eventType !== %q) throw new Error(event.eventType);", e.Type)
		for _, r := range reads {
			good.line("  check(%q, %s, %s);", r.typescript(), r.typescript(), r.value)
		}
		good.line("}")
		good.line("read%d(JSON.parse(JSON.stringify(written%d)));", n, n)
	})
	var bad program
	bad.line(`import type * as persat from "./persat.js";`)
	for _, s := range m.structures {
		for _, member := range s.members {
			bad.wrongLine("export const read_%s_%s = (o: persat.%s) => o.%sx;", s.name, member.name, s.name, member.name)
			bad.wrongLine("export const write_%s_%s: persat.%s = { %sx: %s };", s.name, member.name, s.name, member.name, compact(member.example))
		}
	}
	for n, e := range m.events {
		bad.wrongLine("export const type%d = (e: persat.%s) => e.eventtype;", n, eventName(e))
		bad.wrongLine("export const payload%d = (e: persat.%s) => e.payloads;", n, eventName(e))
		bad.wrongLine("export const other%d: persat.%s[%q] = %q;", n, eventName(e), "eventType", strings.ToLower(e.Type)+"x")
	}
	check(t, dir, ".ts", &good, &bad, regexp.MustCompile(`(?m)^(\w+\.ts)\((\d+),\d+\): error`),
		tsc, "--strict", "--target", "es2020", "--module", "node16", "--moduleResolution", "node16", "--pretty", "false")
	runs(t, dir, node, "good.js")
}

// typescriptVectors checks what the programs read.
const typescriptVectors = `
function check(what: string, got: unknown, want: unknown): void {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    throw new Error(what + ": got " + JSON.stringify(got) + ", want " + JSON.stringify(want));
  }
}

interface Vectors {
  tokens: { name: string; entities: string[]; token: string; entity?: string }[];
  noEntity: string[];
  headerValues: { name: string; value: string; text: string }[];
  headers: {
    headers: Record<string, string>; id: string; source: string; type: string; time: string;
    subject: string | null; replay: number; messageId: string; traceparent: string | null;
  }[];
}

function checkVectors(vectors: Vectors): void {
  for (const v of vectors.tokens) {
    check("token of " + v.name, subjectToken(v.entities), v.token);
    check("entity of " + v.name, entityOf(v.token), v.entity);
  }
  for (const token of vectors.noEntity) check("entity of " + token, entityOf(token), undefined);
  for (const v of vectors.headerValues) check(v.name, decodeHeaderValue(v.value), v.text);
  for (const { headers, ...want } of vectors.headers) {
    const got = readHeaders({ get: (name) => headers[name] ?? "" });
    check("headers", { ...got, subject: got.subject ?? null, traceparent: got.traceparent ?? null }, want);
    check("headers of a Map", readHeaders(new Map(Object.entries(headers))), got);
  }
  for (const none of [undefined, null, new Map<string, string>()]) {
    let refused = false;
    try { readHeaders(none); } catch { refused = true; }
    check("no headers are refused", refused, true);
  }
}
`

// jsonText is a value as JSON that every language reads as it is.
func jsonText(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
