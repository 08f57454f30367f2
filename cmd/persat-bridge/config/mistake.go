package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Mistake is one thing that keeps the bridge from starting.
type Mistake struct {
	// Key is the path of the key: sources.persat.secrets[0]. Empty when the file
	// as a whole is wrong.
	Key string
	// File and Line say where it was set, or, for what is missing, where the
	// section begins. Line is 0 when the file has nothing to do with it.
	File string
	Line int
	// Variable is the environment variable that set it, instead of File.
	Variable string
	// Text says what is wrong and what to write, on one line, without secrets.
	Text string

	// unset: the value is a ${VAR} that is not set.
	unset bool
}

// String is file:line: key: text, as far as there are such.
func (m Mistake) String() string {
	var b strings.Builder
	switch {
	case m.Variable != "":
		b.WriteString(m.Variable + ": ")
	case m.File != "" && m.Line > 0:
		b.WriteString(m.File + ":" + strconv.Itoa(m.Line) + ": ")
	case m.File != "":
		b.WriteString(m.File + ": ")
	}
	if m.Key != "" {
		b.WriteString(m.Key + ": ")
	}
	b.WriteString(m.Text)
	return b.String()
}

// Mistakes is all that is wrong, in the order of the file, then what variables
// set, then what nobody set.
type Mistakes []Mistake

// Error is one mistake a line.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].String()
	}
	return strings.Join(lines, "\n")
}

func (m Mistakes) sort() {
	rank := func(m Mistake) int {
		switch {
		case m.File != "":
			return 0
		case m.Variable != "":
			return 1
		}
		return 2
	}
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Variable, b.Variable), cmp.Compare(a.Key, b.Key))
	})
}

// Warning is what the bridge starts with, but an operator should know.
type Warning struct {
	// Key is the path of the key, or the name of a variable.
	Key  string
	Text string
}

func (w Warning) String() string { return w.Key + ": " + w.Text }

// quote shows a value in a message: on one line, and not without end.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

// mistake notes what is wrong with key, where it was set. One a key: what
// follows from the first would only confuse.
func (l *loader) mistake(key, format string, args ...any) {
	if !l.bad(key) {
		l.note(l.place(key), key, fmt.Sprintf(format, args...))
	}
}

func (l *loader) note(at origin, key, text string) {
	m := Mistake{Key: key, Variable: at.variable, Text: text}
	if at.line > 0 {
		m.File, m.Line = l.file, at.line
	}
	l.mistakes = append(l.mistakes, m)
}

func (l *loader) warn(key, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{Key: key, Text: fmt.Sprintf(format, args...)})
}

// bad says whether key, or an entry of its list, has a mistake already.
func (l *loader) bad(key string) bool {
	return slices.ContainsFunc(l.mistakes, func(m Mistake) bool {
		return m.Key == key || strings.HasPrefix(m.Key, key+"[")
	})
}

// forgiveUnset takes back that entries of the list key are variables not set.
func (l *loader) forgiveUnset(key string) {
	l.mistakes = slices.DeleteFunc(l.mistakes, func(m Mistake) bool {
		return m.unset && strings.HasPrefix(m.Key, key+"[")
	})
}
