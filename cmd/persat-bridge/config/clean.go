package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// byteOrderMark is what editors of Windows write before a text.
const byteOrderMark = "\ufeff"

// clean is the one reader of values: of a variable, of a file that holds a secret, of a
// flag, of a scalar in the configuration. It takes off a byte order mark, the newline at
// the end, and blanks around, which editors, shells and secret stores leave there, and
// which no key means. What it cannot take off without guessing is an error, without the
// value in it.
func clean(text string) (string, error) {
	text = strings.TrimPrefix(text, byteOrderMark)
	text = strings.Trim(text, " \t\r\n")
	if n := len(text); n >= 2 && text[0] == text[n-1] && (text[0] == '"' || text[0] == '\'') {
		return text, fmt.Errorf("has %c around it: write the value without quotes, which docker --env-file and secret stores keep", text[0])
	}
	if !utf8.ValidString(text) {
		return text, errors.New("is not UTF-8: was the file saved as text?")
	}
	if i := strings.IndexFunc(text, invisible); i >= 0 {
		r, _ := utf8.DecodeRuneInString(text[i:])
		if r == '\r' || r == '\n' {
			return text, errors.New("has more than one line")
		}
		return text, fmt.Errorf("has the invisible character %U in it: write it again by hand", r)
	}
	return text, nil
}

// invisible says whether a character of a value cannot be meant: a control character
// but the tab, and what only steers the direction or the joining of others.
func invisible(r rune) bool { return r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// SplitSecrets reads signing secrets of a variable or a flag, several with commas
// between.
func SplitSecrets(text string) ([]string, error) {
	text, err := clean(text)
	if err != nil {
		return nil, err
	}
	var secrets []string
	for one := range strings.SplitSeq(text, ",") {
		if one, err = clean(one); err != nil {
			return nil, err
		}
		if one == "" {
			continue
		}
		if text := checkSvix(one); text != "" {
			return nil, errors.New(text)
		}
		secrets = append(secrets, one)
	}
	return secrets, nil
}

// cleanKey is clean for the value of a key. A path that begins with ~ is an error:
// only a shell replaces that.
func cleanKey(key, text string) (string, error) {
	text, err := clean(text)
	if err == nil && strings.HasPrefix(text, "~") && isPath(key) {
		err = fmt.Errorf("%s begins with ~, which only a shell replaces: write the whole path", quote(text))
	}
	return text, err
}

// isPath says whether the value of key names a file or a directory.
func isPath(key string) bool {
	name := key[strings.LastIndexByte(key, '.')+1:]
	return name == "dir" || strings.HasSuffix(name, "_dir") || strings.HasSuffix(name, "_file")
}
