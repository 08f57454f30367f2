package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// visibly is a text that a stranger may have written, with everything in it that would
// steer a terminal, or change the order in which it is read, as \uXXXX. JSON stays the
// same JSON. Lines and tabs are kept.
func visibly(text string) string {
	if !strings.ContainsFunc(text, steers) {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		switch {
		case !steers(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

// steers says whether a character is more than its glyph. utf8.RuneError stands for a byte
// that is none, which an old terminal may take for a control character.
func steers(r rune) bool {
	return r == utf8.RuneError || r != '\n' && r != '\t' && !unicode.IsPrint(r)
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// columns is how wide the terminal is; 0, for as wide as it gets, where w is none.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// annotate puts a note behind a line, or, where the two do not fit into width,
// below it, broken between words and indented.
func annotate(line, note string, width int) string {
	if width == 0 || visible(line)+2+visible(note) <= width {
		return line + "  " + note
	}
	const indent = foldIndent
	room := 0
	for word := range strings.FieldsSeq(note) {
		n := utf8.RuneCountInString(word)
		if room < 1+n {
			line, room = line+"\n"+indent+word, width-len(indent)-n
			continue
		}
		line, room = line+" "+word, room-1-n
	}
	return line
}

// foldIndent is before the further lines of one that was folded.
const foldIndent = "    "

// fold breaks the lines of a text that are wider than a terminal between words, so that the
// terminal breaks none within one, and a command or an id in them can be copied. A word that
// is wider stays whole. With width 0 the text stays as it is.
func fold(text string, width int) string {
	if width == 0 {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = foldLine(line, width)
	}
	return strings.Join(lines, "\n")
}

func foldLine(line string, width int) string {
	if visible(line) <= width {
		return line
	}
	words := strings.TrimLeft(line, " ")
	indent := line[:len(line)-len(words)]
	out, used := indent, len(indent)
	for first := true; words != ""; first = false {
		word := strings.TrimLeft(words, " ")
		space := len(words) - len(word)
		if end := strings.IndexByte(word, ' '); end >= 0 {
			word, words = word[:end], word[end:]
		} else {
			words = ""
		}
		if n := visible(word); first || used+space+n <= width {
			out, used = out+strings.Repeat(" ", space)+word, used+space+n
		} else {
			out, used = out+"\n"+indent+foldIndent+word, len(indent)+len(foldIndent)+n
		}
	}
	return out
}

// say prints to stdout, folded to its width.
func (p *program) say(format string, args ...any) error {
	_, err := io.WriteString(p.stdout, fold(fmt.Sprintf(format, args...), columns(p.stdout)))
	return err
}

// warn prints to stderr, folded to its width.
func (p *program) warn(format string, args ...any) {
	_, _ = io.WriteString(p.stderr, fold(fmt.Sprintf(format, args...), columns(p.stderr))) // there is nowhere to report it
}

// visible is how many characters of a text, which may be painted, can be seen.
func visible(text string) int {
	return utf8.RuneCountInString(escapes.ReplaceAllString(text, ""))
}

// escapes are what style writes.
var escapes = regexp.MustCompile("\x1b\\[[0-9]+m")

// style writes in bold, faint or a colour on a terminal, and plainly elsewhere.
type style struct{ on bool }

func newStyle(w io.Writer, getenv func(string) string) style {
	return style{isTerminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

const (
	bold  = 1
	faint = 2
	red   = 31
	green = 32
)

func (s style) paint(code int, text string) string {
	if !s.on {
		return text
	}
	return "\x1b[" + strconv.Itoa(code) + "m" + text + "\x1b[0m"
}
