package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every mutation that is listed anywhere still fits the tree: a mutation that was left
// behind by a change of the code would be a test that tests nothing.
func TestMutationsApply(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	mutations, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutations {
		source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.File)))
		if err != nil {
			t.Errorf("%s: mutation %q: %v", m.At, m.Name, err)
			continue
		}
		mutated, err := m.Apply(source)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.File, mutated, 0); err != nil {
			t.Errorf("%s: mutation %q: %v", m.At, m.Name, err)
		}
	}
	t.Logf("%d mutations", len(mutations))
}

const listed = `# Two faults.
run: -run Sim ./a

mutation: one goes
why: it would be missed
file: a/a.go
 	if x {
-		one()
-		two()
+		two()
 	}
`

func TestApply(t *testing.T) {
	mutations, err := parse("list", []byte(listed))
	if err != nil || len(mutations) != 1 {
		t.Fatalf("got %v, %v", mutations, err)
	}
	m := mutations[0]
	if got, want := strings.Join(m.Run, " "), "-run Sim ./a"; got != want {
		t.Errorf("run: got %q, want %q", got, want)
	}
	const source = "func f() {\n\tif x {\n\t\tone()\n\t\ttwo()\n\t}\n}\n"
	got, err := m.Apply([]byte(source))
	if want := "func f() {\n\tif x {\n\t\ttwo()\n\t}\n}\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for name, other := range map[string]string{"not there": "func f() {}\n", "twice": source + source} {
		if _, err := m.Apply([]byte(other)); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no run":        strings.Replace(listed, "run: -run Sim ./a\n", "", 1),
		"no reason":     strings.Replace(listed, "why: it would be missed\n", "", 1),
		"no change":     strings.ReplaceAll(listed, "-\t\tone()\n-", "-"),
		"a stray line":  strings.Replace(listed, "+\t\t", "\t\t", 1),
		"the same name": listed + "\n" + listed[strings.Index(listed, "mutation:"):],
	} {
		if _, err := parse("list", []byte(text)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
