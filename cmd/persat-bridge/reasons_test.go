package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/reason"
)

// Every reason that the publisher gives has a code, and so words in other languages. The
// layers do not know each other, so the texts are read from the source.
func TestReasonsHaveCodes(t *testing.T) {
	failure := regexp.MustCompile(`\{Class: bridge\.\w+, Reason: (?:fmt\.Sprintf\()?("(?:[^"\\]|\\.)*")`)
	verb := regexp.MustCompile(`%[a-z]`)
	found := 0
	files, err := filepath.Glob("../../publisher/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../../bridge/complete.go", "../../bridge/sender.go") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range failure.FindAllSubmatch(text, -1) {
			found++
			format, err := strconv.Unquote(string(m[1]))
			if err != nil {
				t.Fatal(err)
			}
			said := verb.ReplaceAllStringFunc(format, func(v string) string {
				if v == "%q" {
					return `"x"`
				}
				return "7"
			})
			if reason.Explain(said).Code == "" {
				t.Errorf("%s: no code for %q", file, said)
			}
		}
	}
	if found < 30 {
		t.Errorf("found %d reasons, which is not all of them", found)
	}
}
