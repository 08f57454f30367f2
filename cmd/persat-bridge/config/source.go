package config

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/autoconfig"
	"github.com/persat-bridge/persat-bridge/bridge/pull"
)

// Source is one sender.
type Source struct {
	// Auth is how the sender proves who it is: svix (Standard Webhooks signature), basic
	// (HTTP Basic), header (a header with a secret value) or none. Only svix protects the
	// body itself; none takes events from everyone who reaches the listener.
	Auth string `yaml:"auth"`
	// Secrets are what the sender proves it with. Any of them will do, so that one can
	// replace another. svix: whsec_ and base64, or an AutoConfig token, auto_v1_…; one entry
	// may be several with commas between. basic: user:password. header: Header-Name: value.
	// none: no secret. Empty entries are skipped, so that ${OLD_SECRET:-} may be one.
	// Without a secret the bridge does not start. SIGHUP reads this file and SecretsFile
	// again, but a process keeps its environment: to replace a secret without a restart,
	// have it in a file, not in a variable.
	Secrets []Secret `yaml:"secrets"`
	// SecretsFile holds more secrets, one a line; blank lines and lines that begin with #
	// are skipped.
	SecretsFile string `yaml:"secrets_file"`
	// Tolerance is how far a signed timestamp may be from this host's clock. Repeats are
	// signed again, so a longer one only helps who stole a request.
	Tolerance time.Duration `yaml:"tolerance"`
	// SubjectPrefix comes before the event type in the subject; unless set, the source's
	// name. No two sources may share or nest theirs. Subscribers depend on it.
	SubjectPrefix string `yaml:"subject_prefix"`
	// Subject is what a subject ends with. type: persat.workorder.closed. entity: one token
	// more, persat.workorder.closed.48, so that consumers can filter, purge and partition by
	// entity. A change of it changes every subject, and consumers with filters have to
	// follow.
	Subject string `yaml:"subject"`
	// AllowCIDRs are the only addresses or ranges that may send. []: everyone. Behind a
	// proxy it needs server.trusted_proxies.
	AllowCIDRs []netip.Prefix `yaml:"allow_cidrs"`
	// RateLimit is in authentic requests per second; more get a 429. 0: no limit. An import
	// sends thousands of events at once.
	RateLimit float64 `yaml:"rate_limit"`
	// Pull fetches from the sender's polling endpoint what a webhook could not deliver. It
	// needs no public address.
	Pull Pull `yaml:"pull"`
}

// ByEntity says whether the subjects end with an entity.
func (s *Source) ByEntity() bool { return s.Subject == "entity" }

// Pull is the sender's polling endpoint, which its portal offers beside a webhook. It
// needs no public address: with server.listen "" it is the only way in.
type Pull struct {
	// URL is the endpoint's, https, from the sender's portal. Empty: nothing is pulled.
	URL string `yaml:"url"`
	// Token is the endpoint's key, sk_poll_….
	Token Secret `yaml:"token"`
	// TokenFile is a file that holds the token, instead of Token.
	TokenFile string `yaml:"token_file"`
	// Start is where the very first fetch begins: latest, earliest, or a time like
	// 2026-02-12T12:00:00Z. Later fetches go on from the position that the journal keeps.
	Start string `yaml:"start"`
	// Interval is the pause after the endpoint had nothing more.
	Interval time.Duration `yaml:"interval"`
}

// checkPull looks at the polling endpoint of one source.
func (l *loader) checkPull(key string, p *Pull) {
	l.secretFile(key+".token", &p.Token, &p.TokenFile)
	l.positive(key+".interval", p.Interval)
	if _, err := pull.ParseStart(p.Start); err != nil {
		l.mistake(key+".start", "%s is %v", quote(p.Start), err)
	}
	if p.URL == "" {
		if p.Token != "" {
			l.mistake(key+".url", "empty, but there is a token: copy the polling endpoint's URL from the sender's portal")
		}
		return
	}
	if err := pull.CheckURL(p.URL); err != nil {
		l.mistake(key+".url", "%v", err)
	}
	if p.Token == "" && !l.withoutSecrets && !l.bad(key+".token_file") {
		l.mistake(key+".token", "empty: copy the polling endpoint's key, sk_poll_…, from the sender's portal (%s)", variable(key+".token"))
	}
}

const (
	// defaultSource is the one there is when the file names none.
	defaultSource = "persat"
	// defaultSecret is the variable of its secret, as in config.yaml.
	defaultSecret = "PERSAT_WEBHOOK_SECRET"
	// metricsOther is what metrics call requests to no source at all.
	metricsOther = "other"
)

func newSource(name string) Source {
	return Source{Auth: "svix", Tolerance: 5 * time.Minute, SubjectPrefix: name, Subject: "type", Pull: Pull{Start: "latest", Interval: 5 * time.Second}}
}

var (
	sourceName    = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	subjectTokens = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	headerName    = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
)

func checkSourceName(name string) string {
	switch {
	case !sourceName.MatchString(name):
		return "not a source name: it stands in paths, message ids and labels, so use a-z, 0-9, - and _, at most 63, beginning with a letter or digit"
	case name == metricsOther:
		return "taken: it is what metrics call requests to no source at all"
	}
	return ""
}

func (l *loader) checkSources() {
	for _, name := range slices.Sorted(maps.Keys(l.cfg.Sources)) {
		s, key := l.cfg.Sources[name], "sources."+name
		l.checkPull(key+".pull", &s.Pull)
		l.checkSecrets(key, &s)
		l.cfg.Sources[name] = s

		l.positive(key+".tolerance", s.Tolerance)
		l.checkPrefix(key+".subject_prefix", s.SubjectPrefix)
		if s.Subject != "type" && s.Subject != "entity" {
			l.mistake(key+".subject", "%s is no form of subject: choose type or entity", quote(s.Subject))
		}
		if !(s.RateLimit >= 0 && s.RateLimit <= 1e9) {
			l.mistake(key+".rate_limit", "%v is not a rate: write requests per second, 0 for no limit", s.RateLimit)
		}
	}
	l.checkOverlap()
}

func (l *loader) checkPrefix(key, prefix string) {
	switch first, _, _ := strings.Cut(prefix, "."); {
	case !subjectTokens.MatchString(prefix):
		l.mistake(key, "%s is not the beginning of a subject: use A-Z, a-z, 0-9, - and _, with single dots between", quote(prefix))
	case len(prefix) > 128:
		l.mistake(key, "has %d bytes, more than 128", len(prefix))
	case strings.HasPrefix(first, "_INBOX"):
		l.mistake(key, "%s belongs to NATS itself: its replies go there", quote(first))
	}
}

// checkOverlap finds prefixes whose subjects would meet: the same delivery would
// be one source's or the other's, and JetStream refuses overlapping subjects.
func (l *loader) checkOverlap() {
	names := slices.Sorted(maps.Keys(l.cfg.Sources))
	for i, a := range names {
		for _, b := range names[:i] {
			p, q := l.cfg.Sources[a].SubjectPrefix, l.cfg.Sources[b].SubjectPrefix
			if strings.HasPrefix(p+".", q+".") || strings.HasPrefix(q+".", p+".") {
				l.mistake("sources."+a+".subject_prefix", "%s overlaps with %s of the source %s: give each its own", quote(p), quote(q), b)
				break
			}
		}
	}
}

// checkSecrets joins the secrets of both keys into s.Secrets and checks the
// shape of each.
func (l *loader) checkSecrets(key string, s *Source) {
	if l.withoutSecrets {
		l.forgiveUnset(key + ".secrets")
		s.Secrets, s.SecretsFile = nil, ""
	}
	var check func(string) string
	switch s.Auth {
	case "svix":
		check = checkSvix
	case "basic":
		check = checkBasic
	case "header":
		check = checkHeader
	case "none":
	default:
		l.mistake(key+".auth", "%s is no way to authenticate: choose svix, basic, header or none", quote(s.Auth))
		return
	}
	if l.withoutSecrets {
		return
	}
	if s.Auth == "none" {
		// A variable that is not set is no secret: just as well.
		l.forgiveUnset(key + ".secrets")
	}

	var joined []Secret
	addOne := func(key, where, text string) {
		text, err := clean(text)
		if text == "" {
			return
		}
		secret := Secret(text)
		joined = append(joined, secret)
		if err != nil {
			l.mistake(key, "%s%v", where, err)
			return
		}
		if check == nil {
			return
		}
		if text := check(string(secret)); text != "" {
			l.mistake(key, "%s", where+text)
		} else if s.Auth == "svix" && len(svixKey(string(secret))) < 24 {
			l.warn(key, "%sthe secret is shorter than the 24 bytes that Standard Webhooks asks for: was it copied whole? If it was, it may be guessed", where)
		}
	}
	add := func(key, where, text string) {
		if s.Auth != "svix" {
			addOne(key, where, text)
			return
		}
		for one := range strings.SplitSeq(text, ",") {
			addOne(key, where, one)
		}
	}
	for i, secret := range s.Secrets {
		add(key+".secrets["+strconv.Itoa(i)+"]", "", secret.Reveal())
	}
	if s.SecretsFile != "" {
		text, err := readSmall(s.SecretsFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			l.mistake(key+".secrets_file", "%v: create it and write the secret into it, one a line", err)
		case errors.Is(err, fs.ErrPermission):
			l.mistake(key+".secrets_file", "%v: the user that runs the bridge has to be able to read it", err)
		case err != nil:
			l.mistake(key+".secrets_file", "%v", err)
		}
		n := 0
		for line := range strings.Lines(strings.TrimPrefix(text, byteOrderMark)) {
			n++
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				add(key+".secrets_file", "line "+strconv.Itoa(n)+": ", line)
			}
		}
	}
	s.Secrets = joined

	switch {
	case s.Auth == "none" && len(joined) > 0:
		l.mistake(key+".auth", "none, but the source has secrets, which nothing would check: remove them, or choose how to check them")
	case l.cfg.Server.Listen == "" && s.Pull.URL != "": // nobody reaches the source
	case s.Auth == "none":
		l.warn(key+".auth", "none: whoever reaches the listener can send events as this source")
	case len(joined) == 0 && l.bad(key+".secrets_file"): // said already
	case len(joined) == 0 && s.SecretsFile != "":
		l.mistake(key+".secrets_file", "%s has no secret, so the source does not start: write the secret into it, one a line", quote(s.SecretsFile))
	case len(joined) == 0:
		l.mistake(key+".secrets", "the source has no secret, so it does not start: set %s, or write auth: none to take unsigned requests", l.secretHint(key))
	}
}

// secretHint says where a missing secret would go.
func (l *loader) secretHint(key string) string {
	if l.noSources {
		return defaultSecret
	}
	return "one here, as in [\"${" + defaultSecret + "}\"], or " + variable(key+".secrets")
}

// The checks below say what is wrong with a secret, and never the secret.

func checkSvix(secret string) string {
	if _, err := autoconfig.SigningSecret(secret); err != nil {
		return err.Error()
	}
	if len(svixKey(secret)) == 0 {
		return "not whsec_ and base64: copy the secret whole from the sender's portal"
	}
	return ""
}

func svixKey(secret string) []byte {
	secret, _ = autoconfig.SigningSecret(secret)
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return nil
	}
	return key
}

func checkBasic(secret string) string {
	if user, password, _ := strings.Cut(secret, ":"); user == "" || password == "" {
		return "not user:password, with neither of them empty"
	}
	return ""
}

func checkHeader(secret string) string {
	name, value, _ := strings.Cut(secret, ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !headerName.MatchString(name) || value == "" || strings.ContainsFunc(value, isControl) {
		return "not Header-Name: value, with neither of them empty"
	}
	switch strings.ToLower(name) {
	case "host", "content-length", "transfer-encoding", "trailer":
		return "the header is one that HTTP uses itself: choose another"
	}
	return ""
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
