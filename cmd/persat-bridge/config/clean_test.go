package config

import (
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       string
		mistake    string
	}{
		{"a Kubernetes secret that was made with echo", "s3cret\n", "s3cret", ""},
		{"a file of Windows", "\ufeffs3cret\r\n", "s3cret", ""},
		{"an env file of Windows", "/vol/journal\r", "/vol/journal", ""},
		{"a value that was copied with blanks", "  s3cret\t ", "s3cret", ""},
		{"nothing but a newline", "\n", "", ""},
		{"docker --env-file keeps quotes", `"/vol/journal"`, "", `has " around it`},
		{"a secret store's quotes", `'s3cret'`, "", `has ' around it`},
		{"one quote alone is a character", `s3cr"et"`, `s3cr"et"`, ""},
		{"two lines", "s3cret\ns3cret", "", "has more than one line"},
		{"a paste from a terminal", "s3c\x1b[0mret", "", "has the invisible character U+001B"},
		{"a paste from a page", "s3c\u200bret", "", "has the invisible character U+200B"},
		{"UTF-16", "\xff\xfes\x00", "", "is not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := clean(c.text)
			switch {
			case c.mistake == "" && (err != nil || got != c.want):
				t.Errorf("got %q and error %v, want %q", got, err, c.want)
			case c.mistake != "" && (err == nil || !strings.HasPrefix(err.Error(), c.mistake)):
				t.Errorf("got %q and error %v, want an error: %s", got, err, c.mistake)
			case err != nil && strings.Contains(err.Error(), "s3c"):
				t.Errorf("the value shows: %v", err)
			}
		})
	}
}

func TestSplitSecrets(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "",
		secret + "\r\n":                        secret,
		" " + secret + " , " + oldSecret + ",": secret + " " + oldSecret,
	} {
		got, err := SplitSecrets(text)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("SplitSecrets(%q): got %q and error %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{`"` + secret + `"`, secret + `,"` + oldSecret + `"`, "whsec_hunter2hunter", secret + "\n" + oldSecret} {
		if got, err := SplitSecrets(text); err == nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("SplitSecrets(%q): got %q and error %v, want an error without the secret", text, got, err)
		}
	}
}
