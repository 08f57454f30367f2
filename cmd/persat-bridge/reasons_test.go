package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/pull"
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

// Every text of the layers that the status page shows has a code: the notices, what is
// wrong with the connection and the stream, and what came of a replay.
func TestTextsOfThePageHaveCodes(t *testing.T) {
	texts := regexp.MustCompile(`"(?:[^"\\\n]|\\.)*"(?:\s*\+\s*"(?:[^"\\\n]|\\.)*")*`)
	for _, file := range []struct {
		name  string
		where string // a pattern of what stands before a text
		least int
	}{
		{"bridge/loss.go", `notices\.set\("\w+", (?:fmt\.Sprintf\()?`, 1},
		{"bridge/undecided.go", `(?:notices\.set\("\w+", |action = )fmt\.Sprintf\(`, 2},
		{"bridge/pending.go", `const text = `, 1},
		{"bridge/creation.go", `(?:return c\.hold|errors\.New|fmt\.Errorf)\(`, 4},
		{"bridge/confirm.go", `l\.lose\((?:fmt\.Sprintf\()?`, 4},
		{"bridge/complete.go", `l\.lose\(`, 1},
		{"bridge/replay.go", `= errors\.New\(`, 2},
		{"bridge/status.go", `= errors\.New\(|s\.Refusing = `, 2},
		{"bridge/disk.go", `s\.full = fmt\.Errorf\(`, 4},
		{"bridge/webhook/overload.go", `limit\("\w+", `, 4},
		{"bridge/webhook/auth.go", `Detail: `, 5},
		{"bridge/webhook/signature.go", `v\.Detail = \w+, (?:fmt\.Sprintf\()?`, 2},
		{"bridge/alert/queue.go", `notice\("alerts "\+q\.receiver\.Name\(\), fmt\.Sprintf\(|return fmt\.Errorf\(`, 3},
		{"bridge/integrity/confirm.go", `Unsure = `, 2},
		{"publisher/dial.go", `(?:fmt\.Errorf|errors\.New)\(`, 10},
		{"publisher/session.go", `fmt\.Errorf\(`, 2},
		{"publisher/stream.go", `differ\(|fmt\.Errorf\(`, 10},
		{"publisher/attempt.go", `Reason = fmt\.Sprintf\(`, 3},
		{"publisher/room.go", `fmt\.Errorf\(`, 2},
		{"publisher/batch.go", `server\.JS\w+:\s+|return "a batch |Reason: `, 6},
	} {
		source, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(file.name)))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, at := range regexp.MustCompile(file.where).FindAllIndex(source, -1) {
			text := texts.FindIndex(source[at[1]:])
			if text == nil || text[0] != 0 { // a variable stands there
				continue
			}
			said := ""
			for _, part := range regexp.MustCompile(`"(?:[^"\\\n]|\\.)*"`).FindAll(source[at[1]:at[1]+text[1]], -1) {
				plain, err := strconv.Unquote(string(part))
				if err != nil {
					t.Fatal(err)
				}
				said += plain
			}
			// What goes on after the text, or only wraps another, is filled in.
			said = regexp.MustCompile(`%q`).ReplaceAllString(said, `"x"`)
			said = regexp.MustCompile(`%[a-z]`).ReplaceAllString(said, "7")
			if regexp.MustCompile(`^[7 :]*$`).MatchString(said) {
				continue
			}
			found++
			wrapped := regexp.MustCompile(`^(7: )+`).ReplaceAllString(said, "")
			known := ""
			for _, text := range []string{said, said + "x", wrapped, "journal is full: " + wrapped, "the NATS user may not ask for that: " + wrapped} {
				known += reason.Explain(text).Code
			}
			if known == "" {
				t.Errorf("%s: no code for %q", file.name, said)
			}
		}
		if found < file.least {
			t.Errorf("%s: found %d texts, want %d: the pattern no longer fits the source", file.name, found, file.least)
		}
	}
}

// Every failure of a polling endpoint has a code, with a detail and without one.
func TestPullFailuresHaveCodes(t *testing.T) {
	for _, code := range []pull.Code{
		pull.CodeToken, pull.CodeForbidden, pull.CodeNotFound, pull.CodeMoved, pull.CodeCertificate, pull.CodeNoPage, pull.CodeRepeats,
		pull.CodeTooLarge, pull.CodeIterator, pull.CodeRefused, pull.CodeBusy, pull.CodeServer, pull.CodeUnreachable,
	} {
		for _, detail := range []string{"", "(7 bytes)"} {
			f := &pull.Failure{Code: code, Status: 400, Detail: detail}
			if reason.Explain(f.Error()).Code == "" && (detail != "" || code != pull.CodeCertificate && code != pull.CodeTooLarge) { // these have one
				t.Errorf("%s: no code for %q", code, f)
			}
		}
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
