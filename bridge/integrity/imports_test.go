package integrity_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// The package decides from evidence alone: it imports the standard library, and of that
// nothing that could wait, write or log.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			switch path := strings.Trim(spec.Path.Value, `"`); path {
			case "context", "slices", "time":
			default:
				t.Errorf("%s imports %s", file, path)
			}
		}
	}
}
