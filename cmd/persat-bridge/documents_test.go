package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// documents are all Markdown files of the product but the CHANGELOG, by their path from
// the module's root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		files, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if name := strings.TrimPrefix(filepath.ToSlash(file), "../../"); name != "CHANGELOG.md" {
				all[name] = readDocument(t, file)
			}
		}
	}
	if len(all) < 10 {
		t.Fatalf("got %d documents, want all", len(all))
	}
	return all
}

// anchors are the fragments that a page of a document has, as GitHub makes them.
func anchors(text string) map[string]bool {
	all := make(map[string]bool)
	for _, line := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		all[strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, line[1])] = true
	}
	return all
}

// Every relative link leads to a file, and every fragment to a heading.
func TestLinks(t *testing.T) {
	all := documents(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for name, text := range all {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := name
			if target != "" {
				path = filepath.ToSlash(filepath.Join(filepath.Dir(name), target))
			}
			if _, err := os.Stat("../../" + path); err != nil {
				t.Errorf("%s: no file for the link %s", name, m[1])
				continue
			}
			if fragment != "" && !anchors(all[path])[fragment] {
				t.Errorf("%s: no heading for the link %s", name, m[1])
			}
		}
	}
}

// A busy person reads README.md once: 120 lines, and no sentence over 40 words.
func TestReadmeIsShort(t *testing.T) {
	for _, file := range []string{readmeFile, "../../README.es.md"} {
		text := readDocument(t, file)
		if lines := strings.Count(text, "\n"); lines > 120 {
			t.Errorf("%s has %d lines, want 120 at most", file, lines)
		}
		prose := regexp.MustCompile(`\]\([^)]*\)`).ReplaceAllString(fence.ReplaceAllString(text, ""), "]")
		for _, sentence := range regexp.MustCompile(`[.!?:]\**[ \n]|\n\n|\n- |\n\d\. `).Split(prose, -1) {
			if words := strings.Fields(sentence); len(words) > 40 {
				t.Errorf("%s: a sentence of %d words: %s", file, len(words), sentence)
			}
		}
	}
}
