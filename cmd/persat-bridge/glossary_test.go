package main

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// everyday are the words of the page's labels and of the metrics that need no glossary.
const everyday = `
	a all and any as being for from no none not on the this until yet
	address asking back bridge bring cancel close configured content copied copy count course created curl
	details download empty fewer file filters good growth history language last level link live log lost
	matching median memory messages minute more name new nothing now older ones open paused per recreate search
	searching sent since size state status stop table text time trend tried try trying valid without
	<your-host>
	d h min s 15 1 24 72 99 %
	total seconds bytes duration timestamp age build info code commit goversion version mode`

// The glossary explains every word that a label of the page or the name of a metric has.
func TestGlossary(t *testing.T) {
	known := make(map[string]bool)
	add := func(text string) {
		for _, word := range strings.Fields(strings.ToLower(text)) {
			known[stem(word)] = true
		}
	}
	add(everyday)
	var terms []string
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \| [A-Z].*\. \|$`).FindAllStringSubmatch(readDocument(t, "../../docs/glossary.md"), -1) {
		add(strings.NewReplacer("(", " ", ")", " ", `"`, " ", ",", " ").Replace(m[1]))
		terms = append(terms, strings.ToLower(m[1]))
	}
	if len(terms) < 40 || !slices.IsSorted(terms) {
		t.Errorf("got %d terms, want all, in the order of the alphabet: %q", len(terms), terms)
	}
	words := make(map[string]string) // and where they are
	_, page, _ := strings.Cut(readDocument(t, "../../bridge/admin/page/words.js"), "\n  en: {")
	page, _, _ = strings.Cut(page, "\n  es: {")
	labels := 0
	for _, m := range regexp.MustCompile(`\w+: '([^']*)'`).FindAllStringSubmatch(page, -1) {
		if split := strings.Fields(strings.ReplaceAll(m[1], `\u00a0`, " ")); len(split) <= 3 { // what is longer is a sentence
			labels++
			for _, word := range split {
				words[strings.Trim(strings.ToLower(word), ".,:…()")] = "the label " + m[1]
			}
		}
	}
	if labels < 100 {
		t.Errorf("got %d labels of the page, want all", labels)
	}
	for name, of := range contractMetrics {
		for _, word := range append(strings.Split(strings.TrimPrefix(name, "persat_bridge_"), "_"), strings.Fields(of)...) {
			words[word] = name
		}
	}
	for _, word := range slices.Sorted(maps.Keys(words)) {
		if !known[stem(word)] {
			t.Errorf("docs/glossary.md does not explain %q of %s", word, words[word])
		}
	}
}

// stem is a word without its ending.
func stem(word string) string {
	word = strings.Replace(word, "ies", "y", 1)
	for _, ending := range []string{"ing", "ed", "ion", "s"} {
		if base, cut := strings.CutSuffix(word, ending); cut && len(base) > 3 {
			word = base
			break
		}
	}
	return strings.TrimSuffix(word, "e")
}
