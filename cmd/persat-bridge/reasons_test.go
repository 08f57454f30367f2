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

// Every reason of a refused request has Spanish words.
func TestRequestsHaveSpanish(t *testing.T) {
	text, err := os.ReadFile("../../bridge/webhook/refusal.go")
	if err != nil {
		t.Fatal(err)
	}
	spanish := reason.Spanish()
	codes := regexp.MustCompile(`(?m)^\t\w+\s+Reason = "(\w+)"`).FindAllSubmatch(text, -1)
	for _, m := range codes {
		if spanish["request_"+string(m[1])] == "" {
			t.Errorf("no Spanish for requests refused because of %s", m[1])
		}
	}
	if len(codes) < 20 {
		t.Errorf("found %d reasons, which is not all of them", len(codes))
	}
}
