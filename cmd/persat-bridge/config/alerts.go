package config

import (
	"strconv"
	"strings"
	"time"

	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/notify"
)

// Alerts tell people of what needs them, for those who have no Prometheus.
type Alerts struct {
	// URLs are the services to tell, as shoutrrr writes them: slack://…, teams://…,
	// discord://…, telegram://token@telegram?chats=…,
	// smtp://user:password@host:587/?from=…&to=…, ntfy://ntfy.sh/topic,
	// generic+https://host/path for any webhook. Each is a secret as a whole. []: nobody is
	// told.
	URLs []Secret `yaml:"urls"`
	// URLsFile holds more of them, one a line; blank lines and lines that begin with # are
	// skipped.
	URLsFile string `yaml:"urls_file"`
	// Language of the alerts: en or es.
	Language string `yaml:"language"`
	// After is how long a condition lasts before an alert is sent, and how long it is over
	// before its end is sent.
	After time.Duration `yaml:"after"`
	// Repeat is after how long the alert of a condition that lasts is sent again.
	Repeat time.Duration `yaml:"repeat"`
	// Silence is how long a source may have no event before an alert is sent. Make it longer
	// for a sender that rests at the weekend.
	Silence time.Duration `yaml:"silence"`
}

func (l *loader) checkAlerts() {
	a, key := &l.cfg.Alerts, "alerts"
	l.oneOf(key+".language", a.Language, "en", "es")
	l.positive(key+".after", a.After)
	l.positive(key+".repeat", a.Repeat)
	l.positive(key+".silence", a.Silence)
	var joined []Secret
	add := func(key, where, text string) {
		text, err := clean(text)
		if text == "" {
			return
		}
		joined = append(joined, Secret(text))
		if err == nil {
			err = notify.Check(text)
		}
		if err != nil {
			l.mistake(key, "%s%v", where, err)
		}
	}
	for i, url := range whole(a.URLs) {
		add(key+".urls["+strconv.Itoa(i)+"]", "", url)
	}
	if a.URLsFile != "" {
		text, err := readSmall(a.URLsFile)
		if err != nil {
			l.mistake(key+".urls_file", "%v", err)
		}
		n := 0
		for line := range strings.Lines(strings.TrimPrefix(text, byteOrderMark)) {
			n++
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				add(key+".urls_file", "line "+strconv.Itoa(n)+": ", line)
			}
		}
	}
	a.URLs = joined
	if u := l.cfg.Admin.URL; u != "" && !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") {
		l.mistake("admin.url", "%s is no address of a page: it begins with http:// or https://", quote(u))
	}
}

// whole puts URLs together that a variable's commas have cut: one of email has commas
// between its addresses.
func whole(parts []Secret) (urls []string) {
	for _, part := range parts {
		text := part.Reveal()
		if len(urls) > 0 && !strings.Contains(text, "://") {
			urls[len(urls)-1] += "," + text
			continue
		}
		urls = append(urls, text)
	}
	return urls
}
