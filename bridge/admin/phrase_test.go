package admin

import (
	"strings"
	"testing"
)

// The page has words for every code of a sentence, in each language.
func TestThePageKnowsEveryPhrase(t *testing.T) {
	words, err := pageFiles.ReadFile("page/words.js")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(words), "\n  en: {")
	en, es, found := strings.Cut(text, "\n  es: {")
	if !found {
		t.Fatal("words.js has not the two languages that this test looks for")
	}
	for code := range english {
		for language, words := range map[string]string{"en": en, "es": es} {
			if !strings.Contains(words, " "+code+": ") {
				t.Errorf("%s: no words for %s", language, code)
			}
		}
	}
}
