package schema_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// needTool finds a tool that Debian has in a package. A test that cannot run
// without it has failed in CI, where nobody would read that it was skipped.
func needTool(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed (package %s), and this is CI", name, pkg)
	}
	t.Skipf("SKIPPED, NOT TESTED: %s is not installed (package %s)", name, pkg)
	return ""
}

// sampleRead is one member of a sample: the way to it in the payload's objects,
// and its value. A step is a member's name, a key of a map in quotes, or an index.
type sampleRead struct {
	steps []string
	value string
}

// sampleReads are the members of a payload that the model knows.
func (m *model) sampleReads(t *testing.T, of reflect.Type, value json.RawMessage, steps ...string) (all []sampleRead) {
	t.Helper()
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	step := func(s string) []string { return append(slices.Clone(steps), s) }
	switch {
	case objectType(of) == nil:
		return []sampleRead{{steps, string(value)}}
	case of.Kind() == reflect.Slice:
		var items []json.RawMessage
		unmarshal(t, value, &items)
		for i, item := range items {
			all = append(all, m.sampleReads(t, of.Elem(), item, step(strconv.Itoa(i))...)...)
		}
	case of.Kind() == reflect.Map:
		var named map[string]json.RawMessage
		unmarshal(t, value, &named)
		for _, name := range slices.Sorted(maps.Keys(named)) {
			all = append(all, m.sampleReads(t, of.Elem(), named[name], step(strconv.Quote(name))...)...)
		}
	default:
		var object map[string]json.RawMessage
		unmarshal(t, value, &object)
		known := 0
		for _, member := range m.structure(of).members {
			if found, ok := object[member.name]; ok {
				known++
				all = append(all, m.sampleReads(t, member.goType, found, step(member.name)...)...)
			}
		}
		if known != len(object) {
			t.Errorf("the sample at %q has members that %s does not have: %s", steps, of.Name(), value)
		}
	}
	return all
}

func unmarshal(t *testing.T, text []byte, value any) {
	t.Helper()
	if err := json.Unmarshal(text, value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// samples calls f for each event with its sample and the reads of it. The payload
// of the reads is an array.
func (m *model) samples(t *testing.T, f func(n int, e persat.Entry, sample string, reads []sampleRead)) {
	t.Helper()
	for n, e := range m.events {
		body, err := persat.Sample(e.Type, "")
		if err != nil {
			t.Fatal(err)
		}
		var parts struct{ Payload json.RawMessage }
		unmarshal(t, body, &parts)
		list := parts.Payload
		if list[0] != '[' {
			list = slices.Concat([]byte("["), list, []byte("]"))
		}
		reads := m.sampleReads(t, reflect.SliceOf(objectTypes[e.Kind]), list)
		if len(reads) == 0 {
			t.Fatalf("%s: nothing to read", e.Type)
		}
		f(n, e, string(body), reads)
	}
}

// program is a program's text, and the lines of it that a checker has to refuse.
type program struct {
	strings.Builder
	lines int
	wrong []int
}

func (p *program) line(format string, args ...any) {
	fmt.Fprintf(p, format+"\n", args...)
	p.lines += 1 + strings.Count(fmt.Sprintf(format, args...), "\n")
}

func (p *program) wrongLine(format string, args ...any) {
	p.line(format, args...)
	p.wrong = append(p.wrong, p.lines)
}

// check runs a checker over two programs in dir, once: it accepts each line of good
// and refuses the wrong lines of bad, and nothing else. The pattern finds file and
// line of a refusal.
func check(t *testing.T, dir, suffix string, good, bad *program, pattern *regexp.Regexp, command ...string) {
	t.Helper()
	var want, got []string
	for name, p := range map[string]*program{"good": good, "bad": bad} {
		if err := os.WriteFile(filepath.Join(dir, name+suffix), []byte(p.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(p.String(), "\n")
		for _, n := range p.wrong {
			want = append(want, fmt.Sprintf("%s%s:%d: %s", name, suffix, n, lines[n-1]))
		}
	}
	output, _ := inDir(dir, append(command, "good"+suffix, "bad"+suffix)...).CombinedOutput() // it fails because of bad
	for _, match := range pattern.FindAllStringSubmatch(string(output), -1) {
		p := bad
		if match[1] == "good"+suffix {
			p = good
		}
		n, err := strconv.Atoi(match[2])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s:%d: %s", match[1], n, strings.Split(p.String(), "\n")[n-1]))
	}
	slices.Sort(want)
	slices.Sort(got)
	got = slices.Compact(got)
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("accepted: %s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("refused: %s", line)
		}
	}
	if len(want) < 100 || t.Failed() {
		t.Errorf("%d wrong lines; the checker said:\n%.4000s", len(want), output)
	}
}

// runs runs a program to its end.
func runs(t *testing.T, dir string, command ...string) {
	t.Helper()
	if output, err := inDir(dir, command...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(command[1:], " "), err, output)
	}
}

func inDir(dir string, command ...string) *exec.Cmd {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	return cmd
}

// copyFiles copies files of the directory clients to dir.
func copyFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(clients + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
