package notify

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// masked stands for what is not shown.
const masked = "<secret>"

const (
	// shortPart is the longest part of a URL that is shown: ports, and words like "yes".
	shortPart = 5
	// shortPassword is the longest password that is masked only where it stands alone:
	// within words it would mask every other letter.
	shortPassword = 3
)

// secretName are the names of parameters whose values are passwords.
var secretName = regexp.MustCompile(`(?i)pass|token|secret|key|hash|cred`)

// scrub is an error without the URL and without any part of it that may be a secret, also
// where a service has written it otherwise: percent-encoded, decoded, in another case, in
// base64, or within quotes. What is left is what went wrong. It does not wrap the error:
// that has it all.
func scrub(err error, secret string) error {
	return errors.New(secrets(secret).ReplaceAllString(err.Error(), "${before}"+masked))
}

// secrets matches every URL and every part of this one that may be a secret. What stands
// before a short one, to set it apart, is the group before.
func secrets(secret string) *regexp.Regexp {
	parts := strings.FieldsFunc(secret, func(r rune) bool { return strings.ContainsRune("/:@?&=,;#+", r) })
	parts = slices.DeleteFunc(parts, func(part string) bool { return len(part) <= shortPart || part == scheme(secret) })
	user, passwords := passwordsOf(secret)
	parts = append(parts, passwords...)
	for _, password := range passwords {
		parts = append(parts, base64Forms(decoded(user)+":"+decoded(password))...)
	}
	var forms []string
	for _, part := range parts {
		forms = append(forms, formsOf(part)...)
	}
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) }) // the longest that fits is masked
	patterns := []string{`[a-z][a-z0-9+.-]*://[^\s"']+`}
	var short []string
	for _, form := range slices.Compact(forms) {
		switch quoted := regexp.QuoteMeta(form); {
		case form == "":
		case len(form) > shortPassword:
			patterns = append(patterns, quoted)
		case endsInWord.MatchString(form):
			short = append(short, quoted+`\b`)
		default:
			short = append(short, quoted)
		}
	}
	if len(short) > 0 {
		patterns = append(patterns, `(?P<before>^|[^\pL\pN])(?:`+strings.Join(short, "|")+`)`)
	}
	return regexp.MustCompile(`(?i)` + strings.Join(patterns, "|"))
}

var endsInWord = regexp.MustCompile(`\w$`)

// passwordsOf are the parts of a URL that are passwords, however short, and the user whom
// the first of them is of. The URL need not be one that url.Parse takes.
func passwordsOf(secret string) (user string, passwords []string) {
	_, rest, _ := strings.Cut(secret, "://")
	rest, query, _ := strings.Cut(rest, "?")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		var password string
		if user, password, _ = strings.Cut(rest[:at], ":"); password != "" {
			passwords = append(passwords, password)
		}
	}
	query, _, _ = strings.Cut(query, "#")
	for _, parameter := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
		if name, value, _ := strings.Cut(parameter, "="); value != "" && secretName.MatchString(name) {
			passwords = append(passwords, value)
		}
	}
	return user, passwords
}

// decoded is a part of a URL without its percent-encoding.
func decoded(part string) string {
	if plain, err := url.PathUnescape(part); err == nil {
		return plain
	}
	return part
}

// formsOf are the ways in which a part of a URL may be written.
func formsOf(part string) []string {
	forms := []string{part, url.QueryEscape(part), url.PathEscape(part)}
	plains := []string{decoded(part)}
	if plain, err := url.QueryUnescape(part); err == nil {
		plains = append(plains, plain)
	}
	for _, plain := range plains {
		forms = append(forms, plain, url.QueryEscape(plain), url.PathEscape(plain), percentEncoded(plain), url.UserPassword("", plain).String()[1:])
		quoted := strconv.Quote(plain)
		forms = append(forms, quoted[1:len(quoted)-1])
		if text, err := json.Marshal(plain); err == nil {
			forms = append(forms, string(text[1:len(text)-1]))
		}
		forms = append(forms, base64Forms(plain)...)
	}
	return forms
}

// percentEncoded has every byte encoded that is no letter and no digit.
func percentEncoded(plain string) string {
	var b strings.Builder
	for _, c := range []byte(plain) {
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)+0x100, 16)[1:]))
	}
	return b.String()
}

// base64Forms are a text in base64, with and without padding.
func base64Forms(plain string) []string {
	return []string{
		base64.StdEncoding.EncodeToString([]byte(plain)), base64.RawStdEncoding.EncodeToString([]byte(plain)),
		base64.URLEncoding.EncodeToString([]byte(plain)), base64.RawURLEncoding.EncodeToString([]byte(plain)),
	}
}
