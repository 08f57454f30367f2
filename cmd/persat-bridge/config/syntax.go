package config

import (
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlLine is where the parser says that its error is.
var yamlLine = regexp.MustCompile(`^line (\d+): `)

// syntaxAdvice goes behind words of the parser that most often mean something simple.
var syntaxAdvice = map[string]string{
	"did not find expected key":                      ": is the line indented like those beside it?",
	"did not find expected '-' indicator":            ": is the line indented like those beside it?",
	"did not find expected <document start>":         ": is the line indented like those beside it?",
	"mapping values are not allowed in this context": ": is the line indented like those beside it, and has the key above it a colon? A text with a colon wants quotes",
}

// noteSyntax says where text is no YAML, and why.
func (l *loader) noteSyntax(text string, err error) {
	words := strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, strings.TrimPrefix(err.Error(), "yaml: "))
	m := Mistake{File: l.file}
	if at := yamlLine.FindStringSubmatch(words); at != nil {
		m.Line, _ = strconv.Atoi(at[1])
		words = words[len(at[0]):]
	}
	if line, bad := firstBadLine(text); line > 0 {
		m.Line = line
		if indentation := bad[:len(bad)-len(strings.TrimLeft(bad, " \t"))]; strings.Contains(indentation, "\t") {
			words = "a tab in the indentation: write spaces"
		}
	}
	m.Text = "not YAML: " + words + syntaxAdvice[words]
	l.mistakes = append(l.mistakes, m)
}

// firstBadLine finds the line that follows the longest beginning of text that is
// YAML. The parser only says where that which it could not end had begun. A file too
// large to be read once a line is left at that: then number is 0.
func firstBadLine(text string) (number int, line string) {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) > 1000 || len(text) > 64<<10 {
		return 0, ""
	}
	end := len(text)
	for i := len(lines) - 1; i >= 0; i-- {
		end -= len(lines[i])
		if isYAML(text[:end]) {
			return i + 1, lines[i]
		}
	}
	return 0, ""
}

func isYAML(text string) bool {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var document yaml.Node
		if err := decoder.Decode(&document); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}
