package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAlerts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "urls")
	if err := os.WriteFile(file, []byte("# for the night\nntfy://ntfy.sh/s3cr3t-topic\n\nhttps://example.com/s3cr3t\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const secret = "PERSAT_WEBHOOK_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	for _, c := range []struct {
		name string
		env  []string
		urls int
		want []string // mistakes
	}{
		{"none", nil, 0, nil},
		{"commas between addresses", []string{"PERSAT_BRIDGE_ALERTS_URLS=smtp://u:s3cr3t@mail.example.com/?from=a@example.com&to=b@example.com,c@example.com,ntfy://ntfy.sh/s3cr3t"}, 2, nil},
		{"no service", []string{"PERSAT_BRIDGE_ALERTS_URLS=ntfy://ntfy.sh/s3cr3t,sms://s3cr3t"}, 0, []string{"alerts.urls[1]", `"sms" is no service`}},
		{"a file", []string{"PERSAT_BRIDGE_ALERTS_URLS_FILE=" + file}, 0, []string{"alerts.urls_file", "line 4", `"https" is no service`}},
		{"another language", []string{"PERSAT_BRIDGE_ALERTS_LANGUAGE=pt"}, 0, []string{"alerts.language", "en", "es"}},
		{"no time", []string{"PERSAT_BRIDGE_ALERTS_AFTER=0s"}, 0, []string{"alerts.after"}},
		{"no page", []string{"PERSAT_BRIDGE_ADMIN_URL=ops.example.com"}, 0, []string{"admin.url", "https://"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, _, err := Load("", append(c.env, secret))
			if len(c.want) == 0 {
				if err != nil || len(cfg.Alerts.URLs) != c.urls {
					t.Errorf("got %v (%v), want %d URLs", cfg, err, c.urls)
				}
				return
			}
			if err == nil {
				t.Fatal("no mistake")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %v, want %q in it", err, part)
				}
			}
			if strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%v has the secret", err)
			}
		})
	}
}
