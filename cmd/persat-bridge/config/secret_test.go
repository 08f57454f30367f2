package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v3"
)

func TestSecretsStayInside(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "token", "hunter2\n")
	cfg, _, err := Load("", []string{
		"PERSAT_WEBHOOK_SECRET=whsec_" + "aHVudGVyMmh1bnRlcjJodW50ZXIy",
		"NATS_URL=nats://user:hunter2@nats.example.com:4222,hunter2@b.example.com",
		"NATS_USER=user", "NATS_PASSWORD=hunter2", "NATS_TOKEN=hunter2",
		"PERSAT_BRIDGE_ADMIN_TOKEN_FILE=token",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Admin.Token.Reveal() + cfg.NATS.Password.Reveal() + cfg.NATS.Token.Reveal(); got != "hunter2hunter2hunter2" {
		t.Fatalf("got secrets %s: the rest of this test would prove nothing", got)
	}

	prints := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		prints[verb] = fmt.Sprintf(verb, *cfg) + fmt.Sprintf(verb, cfg) + fmt.Sprintf(verb, cfg.Admin.Token)
	}
	asJSON, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	prints["json"], prints["yaml"] = string(asJSON), string(asYAML)
	var text strings.Builder
	slog.New(slog.NewTextHandler(&text, nil)).Info("start", "config", cfg, "token", cfg.Admin.Token, "url", cfg.NATS.URL)
	prints["slog"] = text.String()
	fields := zapcore.NewMapObjectEncoder()
	if err := fields.AddReflected("config", cfg); err != nil {
		t.Fatal(err)
	}
	prints["zap"] = fmt.Sprint(fields.Fields)

	for how, got := range prints {
		for _, leak := range []string{"hunter2", "68756e74657232", "68756E74657232", "aHVudGVy", "61487675", "104 117 110"} {
			if strings.Contains(got, leak) {
				t.Errorf("%s shows a secret, as %s: %s", how, leak, got)
			}
		}
		if how != "json" && how != "zap" && !strings.Contains(got, masked) {
			t.Errorf("%s does not show that there is a secret: %s", how, got)
		}
	}
	if want := `"URL":"nats://\u003csecret\u003e@nats.example.com:4222,nats://\u003csecret\u003e@b.example.com"`; !strings.Contains(prints["json"], want) {
		t.Errorf("got %s, want %s in it", prints["json"], want)
	}
}

func TestNoSecretPrintsNothing(t *testing.T) {
	if got := fmt.Sprintf("%v%+v%#v%q", Secret(""), Secret(""), Servers(""), Servers("")); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}

func TestServersThatDoNotParseAreHiddenWhole(t *testing.T) {
	for servers, want := range map[Servers]string{
		"nats://user:p%zz@example.com": masked,
		"nats://user:pa/ss@ex":         masked,
		"user:pw@example.com,b:1":      "nats://<secret>@example.com,nats://b:1",
		"wss://a.example.com/path?t=s": "wss://a.example.com",
	} {
		if got := servers.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
