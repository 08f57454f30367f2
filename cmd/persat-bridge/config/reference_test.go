package config

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestGenerated keeps config.yaml and the keys of docs/configuration.md as the comments
// and defaults of Config have them:
//
//	go test ./cmd/persat-bridge/config -run TestGenerated -update
func TestGenerated(t *testing.T) {
	const manual = "../../../docs/configuration.md"
	var r referenceWriter
	r.comments = readComments(t)
	r.section(t, reflect.ValueOf(Default()).Elem(), "")

	have := read(t, reference)
	head, _, _ := strings.Cut(have, "\n\n") // what holds for all keys
	compareGenerated(t, reference, have, head+"\n"+r.yaml.String())

	const begin, end = "<!-- keys -->\n", "<!-- /keys -->"
	have = read(t, manual)
	before, rest, opened := strings.Cut(have, begin)
	_, after, closed := strings.Cut(rest, end)
	if !opened || !closed {
		t.Fatalf("%s has no block between %s and %s", manual, begin, end)
	}
	compareGenerated(t, manual, have, before+begin+r.markdown.String()+end+after)
}

func compareGenerated(t *testing.T, file, have, want string) {
	t.Helper()
	if have == want {
		return
	}
	if !*update {
		t.Errorf("%s is not what the comments of Config say: go test ./cmd/persat-bridge/config -run TestGenerated -update", file)
		return
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readComments returns the comments of the package's struct fields, by type and field.
func readComments(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	comments := make(map[string]string)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if fields, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range fields.Fields.List {
					for _, name := range f.Names {
						comments[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
					}
				}
			}
			return true
		})
	}
	return comments
}

// referenceWriter writes both documents of the keys.
type referenceWriter struct {
	comments       map[string]string
	yaml, markdown strings.Builder
}

// section writes the keys of a section, and of the sections in it.
func (r *referenceWriter) section(t *testing.T, v reflect.Value, path string) {
	depth := strings.Count(path, ".") + 1
	if path == "" {
		depth = 0
	}
	indent := strings.Repeat("  ", depth)
	for field, fv := range v.Fields() {
		name := field.Tag.Get("yaml")
		if name == "-" {
			continue
		}
		key := join(path, name)
		comment := r.comment(t, v.Type(), field.Name)
		if comment == "" {
			t.Errorf("%s has no comment", key)
		}
		if depth == 0 {
			r.yaml.WriteString("\n")
			fmt.Fprintf(&r.markdown, "### %s\n\n%s\n\n| key | default | meaning |\n|---|---|---|\n", name, escapedCell(comment))
		}
		r.yaml.WriteString(wrapped(comment, indent+"# "))
		switch {
		case fv.Type() == sourcesType:
			s := fv.Interface().(map[string]Source)[defaultSource]
			fmt.Fprintf(&r.yaml, "%s%s:\n%s  %s:\n", indent, name, indent, defaultSource)
			r.section(t, reflect.ValueOf(&s).Elem(), join(key, defaultSource))
		case isSection(fv.Type()):
			fmt.Fprintf(&r.yaml, "%s%s:\n", indent, name)
			if depth > 0 {
				fmt.Fprintf(&r.markdown, "| `%s` | | %s |\n", key, escapedCell(comment))
			}
			r.section(t, fv, key)
		default:
			fmt.Fprintf(&r.yaml, "%s%s: %s\n", indent, name, written(key, fv))
			shown := "`" + written(key, fv) + "`"
			if shown == "`\"\"`" {
				shown = ""
			}
			fmt.Fprintf(&r.markdown, "| `%s` | %s | %s |\n", key, shown, escapedCell(comment))
		}
		if depth == 0 {
			r.markdown.WriteString("\n")
		}
	}
}

// comment is a field's comment with the names of fields as the keys that they are: an
// operator knows max_bytes, and not MaxBytes.
func (r *referenceWriter) comment(t *testing.T, section reflect.Type, field string) string {
	t.Helper()
	text := r.comments[section.Name()+"."+field]
	if !strings.HasPrefix(text, field) {
		t.Errorf("the comment of %s.%s does not begin with its name", section.Name(), field)
	}
	for i := range section.NumField() {
		f := section.Field(i)
		// Not a word that is a field's name and an ordinary one, such as "Token" in a sentence.
		name := regexp.MustCompile(`(^|[^\w.])` + f.Name + `\b`)
		text = name.ReplaceAllString(text, "${1}"+cmp.Or(strings.TrimPrefix(f.Tag.Get("yaml"), "-"), f.Name))
	}
	return text
}

// written is a default as it is written in YAML.
func written(key string, v reflect.Value) string {
	switch value := v.Interface().(type) {
	case time.Duration:
		text := value.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		return text
	case []Secret:
		if key == "sources."+defaultSource+".secrets" {
			return `["${` + defaultSecret + `}"]`
		}
	case Secret:
		return quoted(value.Reveal())
	case Servers:
		return quoted(value.Reveal())
	case string:
		return quoted(value)
	}
	return fmt.Sprint(v.Interface())
}

func quoted(s string) string {
	if s == "" || strings.Contains(s, ":") {
		return `"` + s + `"`
	}
	return s
}

// escapedCell is text in a cell of a table.
func escapedCell(text string) string {
	text = strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(text)
	return strings.ReplaceAll(text, "{source}", "`{source}`")
}

// wrapped breaks text into lines that begin with prefix.
func wrapped(text, prefix string) string {
	const width = 90
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
			b.WriteString(prefix)
			column = len(prefix)
		case column+1+n > width:
			b.WriteString("\n" + prefix)
			column = len(prefix)
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += n
	}
	b.WriteString("\n")
	return b.String()
}
