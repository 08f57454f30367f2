package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// env is an environment.
func env(variables ...string) func(string) string {
	return func(name string) string {
		for _, v := range variables {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, name := range []string{"bridge/webhook", "bridge/alerts", "bridge/admin-token", "bridge/nats-password", "consumer/nats-password", "nats/users.conf", "nats/routes.conf"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o400 {
			t.Errorf("%s has mode %v, want it for its owner's eyes only", name, info.Mode())
		}
		all[name] = string(text)
	}
	return all
}

func TestSecretsStay(t *testing.T) {
	dir := t.TempDir()
	if err := writeSecrets(dir, env("PERSAT_WEBHOOK_SECRET=whsec_a")); err != nil {
		t.Fatal(err)
	}
	first := readAll(t, dir)
	if got, want := first["nats/users.conf"], strings.TrimSpace(first["bridge/nats-password"]); !strings.Contains(got, want) {
		t.Error("NATS does not know the bridge's password")
	}
	if first["bridge/nats-password"] == first["consumer/nats-password"] {
		t.Error("the consumer has the bridge's password")
	}

	if err := writeSecrets(dir, env("PERSAT_WEBHOOK_SECRET=whsec_b, whsec_a")); err != nil {
		t.Fatal(err)
	}
	second := readAll(t, dir)
	if got, want := second["bridge/webhook"], "whsec_b\nwhsec_a\n"; got != want {
		t.Errorf("webhook secrets: got %q, want %q", got, want)
	}
	for name := range first {
		if name != "bridge/webhook" && first[name] != second[name] {
			t.Errorf("%s has changed", name)
		}
	}

	// To change a password is to remove its file.
	if err := os.Remove(filepath.Join(dir, "consumer/nats-password")); err != nil {
		t.Fatal(err)
	}
	if err := writeSecrets(dir, env("PERSAT_WEBHOOK_SECRET=whsec_b")); err != nil {
		t.Fatal(err)
	}
	third := readAll(t, dir)
	if third["consumer/nats-password"] == first["consumer/nats-password"] {
		t.Error("the removed password came back")
	}
	if !strings.Contains(third["nats/users.conf"], strings.TrimSpace(third["consumer/nats-password"])) {
		t.Error("NATS does not know the new password")
	}
}

func TestNoWebhookSecret(t *testing.T) {
	if err := writeSecrets(t.TempDir(), env("PERSAT_WEBHOOK_SECRET= ")); err == nil || !strings.Contains(err.Error(), "PERSAT_WEBHOOK_SECRET") {
		t.Errorf("got %v, want an error that names PERSAT_WEBHOOK_SECRET", err)
	}
}

// What setup writes is what the configuration of the servers includes.
func TestNATSReadsTheSecrets(t *testing.T) {
	dir := t.TempDir()
	if err := writeSecrets(filepath.Join(dir, "all"), env("PERSAT_WEBHOOK_SECRET=whsec_a")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "all/nats"), filepath.Join(dir, "secrets")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "conf"), os.DirFS("../nats")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SERVER_NAME", "nats-1")
	t.Setenv("NATS_MAX_STORE", "50GB")
	for file, routes := range map[string]int{"nats.conf": 0, "cluster.conf": 3} {
		o, err := server.ProcessConfigFile(filepath.Join(dir, "conf", file))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if len(o.Users) != 3 || len(o.Routes) != routes {
			t.Errorf("%s: got %d users and %d routes, want 3 and %d", file, len(o.Users), len(o.Routes), routes)
		}
		if o.JetStreamMaxStore != 50<<30 {
			t.Errorf("%s: NATS_MAX_STORE=50GB is %d bytes", file, o.JetStreamMaxStore)
		}
		for _, route := range o.Routes {
			if password, _ := route.User.Password(); password != o.Cluster.Password || password == "" {
				t.Errorf("%s: route %s does not know the password of the cluster", file, route.Host)
			}
		}
	}
}

// The addresses are one a line, and those of one email stay together.
func TestAlertAddresses(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", ""},
		{"slack://a@b", "slack://a@b\n"},
		{" slack://a@b  ntfy://ntfy.sh/t ", "slack://a@b\nntfy://ntfy.sh/t\n"},
		{"slack://a@b,ntfy://ntfy.sh/t", "slack://a@b\nntfy://ntfy.sh/t\n"},
		{"smtp://u:p@h:587/?from=a@b&to=c@d,e@f", "smtp://u:p@h:587/?from=a@b&to=c@d,e@f\n"},
		{"smtp://h/?to=c@d,e@f,slack://a@b", "smtp://h/?to=c@d,e@f\nslack://a@b\n"},
	} {
		if got := addresses(test.text); got != test.want {
			t.Errorf("%q: got %q, want %q", test.text, got, test.want)
		}
	}
}

// A word that is no command, as a misspelt one, is not taken for a directory.
func TestUnknownCommand(t *testing.T) {
	for _, args := range [][]string{{"bakup"}, {"restore", "--force"}, {"show"}, {"/volumes/nats", "backup"}} {
		err := run(args, env("PERSAT_WEBHOOK_SECRET=whsec_a"), t.TempDir(), nil, nil, nil)
		if err == nil || !strings.Contains(err.Error(), strings.Join(args, " ")) {
			t.Errorf("%q: got %v, want an error that has it", args, err)
		}
	}
}
