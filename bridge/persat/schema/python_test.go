package schema_test

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// python reads a member in Python.
func (r sampleRead) python() string {
	e := `objects(event["payload"])`
	for _, step := range r.steps {
		if _, err := strconv.Atoi(step); err != nil && step[0] != '"' {
			step = strconv.Quote(step)
		}
		e += "[" + step + "]"
	}
	return e
}

// pythonLiteral writes a JSON value in Python.
func pythonLiteral(t *testing.T, text string) string {
	t.Helper()
	words := map[string]string{"true": "True", "false": "False", "null": "None"}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		t.Fatal(err)
	}
	switch v := value.(type) {
	case map[string]any:
		var members []string
		for name, member := range v {
			members = append(members, jsonText(t, name)+": "+pythonLiteral(t, jsonText(t, member)))
		}
		slices.Sort(members)
		return "{" + strings.Join(members, ", ") + "}"
	case []any:
		var items []string
		for _, item := range v {
			items = append(items, pythonLiteral(t, jsonText(t, item)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	if word := words[strings.TrimSpace(text)]; word != "" {
		return word
	}
	return strings.TrimSpace(text)
}

// mypy --strict accepts a program that reads every member of every sample, and
// python3 finds the samples' values there and agrees with the test vectors. Every
// misspelled member is refused, read or written.
func TestPython(t *testing.T) {
	interpreter, mypy := needTool(t, "python3", "python3"), needTool(t, "mypy", "mypy")
	dir := t.TempDir()
	copyFiles(t, dir, "python/persat.py", "vectors.json")
	m := readModel(t)

	var good program
	good.line("%s", pythonVectors)
	m.samples(t, func(n int, e persat.Entry, sample string, reads []sampleRead) {
		good.line("written%d: persat.%s = %s", n, eventName(e), pythonLiteral(t, sample))
		good.line("def read%d(event: persat.PersatEvent) -> None:", n)
		good.line("    assert event[\"eventType\"] == %q", e.Type)
		for _, r := range reads {
			good.line("    check(%q, %s, %s)", r.python(), r.python(), pythonLiteral(t, r.value))
		}
		good.line("read%d(json.loads(json.dumps(written%d)))", n, n)
	})
	var bad program
	bad.line("import persat")
	for _, s := range m.structures {
		for _, member := range s.members {
			bad.line("def read_%s_%s(o: persat.%s) -> object:", s.name, member.name, s.name)
			bad.wrongLine("    return o[%q]", member.name+"x")
			bad.wrongLine("write_%s_%s: persat.%s = {%q: %s}", s.name, member.name, s.name, member.name+"x", pythonLiteral(t, string(member.example)))
		}
	}
	for n, e := range m.events {
		bad.line("def event%d(e: persat.%s) -> object:", n, eventName(e))
		bad.wrongLine("    e[\"eventtype\"]")
		bad.wrongLine("    return e[\"payloads\"]")
	}
	check(t, dir, ".py", &good, &bad, regexp.MustCompile(`(?m)^(\w+\.py):(\d+): error`),
		mypy, "--strict", "--python-executable", interpreter, "--cache-dir", filepath.Join(t.TempDir(), "cache"), "persat.py")
	runs(t, dir, interpreter, "good.py")
}

// pythonVectors checks the functions.
const pythonVectors = `import json
from typing import Any

import persat
from persat import objects


def check(what: str, got: object, want: object) -> None:
    assert got == want, f"{what}: got {got!r}, want {want!r}"


with open("vectors.json", encoding="utf-8") as file:
    vectors: Any = json.load(file)
for v in vectors["tokens"]:
    check("token of " + v["name"], persat.subject_token(v["entities"]), v["token"])
    check("entity of " + v["name"], persat.entity_of(v["token"]), v.get("entity"))
for token in vectors["noEntity"]:
    check("entity of " + token, persat.entity_of(token), None)
for v in vectors["headerValues"]:
    check(v["name"], persat.decode_header_value(v["value"]), v["text"])
for v in vectors["headers"]:
    names = ["id", "source", "type", "time", "subject", "replay", "messageId", "traceparent"]
    check("headers", tuple(persat.read_headers(v["headers"])), tuple(v[name] for name in names))
for headers in (None, {"Content-Type": "application/json"}):
    try:
        persat.read_headers(headers)
    except ValueError:
        continue
    raise AssertionError("headers of another publisher were read")
`
