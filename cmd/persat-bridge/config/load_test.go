package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const (
	secret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	oldSecret = "whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk"
	reference = "../../../config.yaml"
)

// revealed compares and shows secrets: those here are invented.
var revealed = cmp.Options{
	cmp.Transformer("reveal", func(s Secret) string { return s.Reveal() }),
	cmp.Transformer("revealServers", func(s Servers) string { return s.Reveal() }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// load loads text as config.yaml, without mistakes.
func load(t *testing.T, text string, environ ...string) (*Config, []Warning) {
	t.Helper()
	t.Chdir(t.TempDir())
	if text != "" {
		write(t, "config.yaml", text)
	}
	cfg, warnings, err := Load("", environ)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return cfg, warnings
}

func defaults() *Config {
	cfg := Default()
	s := cfg.Sources["persat"]
	s.Secrets = []Secret{secret}
	cfg.Sources["persat"] = s
	return cfg
}

func TestDefaults(t *testing.T) {
	for name, text := range map[string]string{
		"no file":               "",
		"a file of comments":    "# nothing yet\n",
		"a document of nothing": "---\n",
		"sections of comments":  "journal:\n  # dir: elsewhere\nsources:\n  # persat:\nnats: {embedded: }\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, warnings := load(t, text, "PERSAT_WEBHOOK_SECRET="+secret)
			if diff := cmp.Diff(defaults(), got, revealed); diff != "" {
				t.Errorf("Config (-want +got):\n%s", diff)
			}
			if len(warnings) > 0 {
				t.Errorf("got warnings %v, want none", warnings)
			}
		})
	}
}

// TestReference keeps config.yaml at the root from lagging behind the code.
func TestReference(t *testing.T) {
	got, warnings, err := Load(reference, []string{"PERSAT_WEBHOOK_SECRET=" + secret})
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	if diff := cmp.Diff(defaults(), got, revealed); diff != "" {
		t.Errorf("it is not at the defaults (-want +got):\n%s", diff)
	}
	if len(warnings) > 0 {
		t.Errorf("got warnings %v, want none", warnings)
	}

	var document yaml.Node
	if err := yaml.Unmarshal([]byte(read(t, reference)), &document); err != nil {
		t.Fatal(err)
	}
	present := map[string]bool{}
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
			key := join(path, n.Content[i].Value)
			present[key] = true
			if n.Content[i].HeadComment == "" && key != "sources.persat" {
				t.Errorf("%s has no line of why above it", key)
			}
			walk(n.Content[i+1], key)
		}
	}
	walk(document.Content[0], "")
	for key := range flat(Default()) {
		if !present[key] {
			t.Errorf("%s is missing", key)
		}
	}
}

// flat shows every key's value, secrets too.
func flat(cfg *Config) map[string]string {
	all := map[string]string{}
	eachKey(reflect.ValueOf(cfg).Elem(), "", func(key string, v reflect.Value) {
		switch s := v.Interface().(type) {
		case Secret:
			all[key] = s.Reveal()
		case Servers:
			all[key] = s.Reveal()
		case []Secret:
			all[key] = ""
			for _, one := range s {
				all[key] += one.Reveal() + ","
			}
		default:
			all[key] = fmt.Sprint(s)
		}
	})
	return all
}

func TestWhereValuesComeFrom(t *testing.T) {
	const auth = "sources: {persat: {auth: none}}\n"
	for name, c := range map[string]struct {
		text    string
		environ []string
		want    map[string]string // of flat
	}{
		"the nats command's variable beats the file": {
			text: auth + "nats: {url: file.example.com}\n", environ: []string{"NATS_URL=nats.example.com"},
			want: map[string]string{"nats.url": "nats.example.com", "nats.embedded.enabled": "false"},
		},
		"every variable of the nats command": {
			text: auth, environ: []string{
				"NATS_URL=nats.example.com", "NATS_CREDS=token", "NATS_USER=u", "NATS_PASSWORD=p", "NATS_TOKEN=t", "NATS_NKEY=./token",
				"NATS_CA=.//pair.crt", "NATS_CERT=pair.crt", "NATS_KEY=./pair.key",
			},
			want: map[string]string{
				"nats.url": "nats.example.com", "nats.creds_file": "token", "nats.user": "u", "nats.password": "p", "nats.token": "t", "nats.nkey_file": "./token",
				"nats.tls.ca_file": ".//pair.crt", "nats.tls.cert_file": "pair.crt", "nats.tls.key_file": "./pair.key",
			},
		},
		"the bridge's own beats the nats command's": {
			text: auth, environ: []string{"NATS_URL=nats.example.com", "PERSAT_BRIDGE_NATS_URL=bridge.example.com"},
			want: map[string]string{"nats.url": "bridge.example.com"},
		},
		"compose passes variables that are empty": {
			text: auth + "nats: {url: file.example.com}\nlog: {level: warn}\n", environ: []string{"NATS_URL=", "PERSAT_BRIDGE_LOG_LEVEL="},
			want: map[string]string{"nats.url": "file.example.com", "log.level": "warn"},
		},
		"url beside embedded.enabled, as in the reference": {
			text: auth + "nats: {url: nats.example.com, embedded: {enabled: true}}\n",
			want: map[string]string{"nats.embedded.enabled": "false"},
		},
		"NATS_USER alone is a token, as for the nats command": {
			text: auth, environ: []string{"NATS_URL=nats.example.com", "NATS_USER=t0ken"},
			want: map[string]string{"nats.user": "", "nats.token": "t0ken"},
		},
		"a user of the file without a password stays one": {
			text: auth + "nats: {url: nats.example.com, user: u}\n",
			want: map[string]string{"nats.user": "u", "nats.token": ""},
		},
		"a secrets file of Windows, with a comment at its top": {
			text: "sources: {persat: {secrets_file: bom}}\n",
			want: map[string]string{"sources.persat.secrets": secret + ","},
		},
		"a Basic password from a Kubernetes secret that was made with echo": {
			text: "sources: {a: {auth: basic, secrets: ['user:${PW}']}}\n", environ: []string{"PW=s3cret\n"},
			want: map[string]string{"sources.a.secrets": "user:s3cret,"},
		},
		"an admin token with a newline, and a directory with the CR of an env file": {
			text: auth, environ: []string{"PERSAT_BRIDGE_ADMIN_TOKEN=outside\n", "PERSAT_BRIDGE_JOURNAL_DIR=/vol/journal\r"},
			want: map[string]string{"admin.token": "outside", "journal.dir": "/vol/journal"},
		},
		"blanks and commas around signing secrets": {
			environ: []string{"PERSAT_WEBHOOK_SECRET= " + secret + " ,\t" + oldSecret + ",\r\n"},
			want:    map[string]string{"sources.persat.secrets": secret + "," + oldSecret + ","},
		},
		"a variable of a newline is an empty one": {
			text: auth + "journal: {dir: here}\n", environ: []string{"PERSAT_BRIDGE_JOURNAL_DIR=\n"},
			want: map[string]string{"journal.dir": "here"},
		},
		"a context replaces the connection of the file, and nothing else of it": {
			text: auth + "nats: {url: file.example.com, user: file, token_file: gone, stream: {name: FILE}}\n", environ: []string{"NATS_CONTEXT=prod", "NATS_USER=env", "NATS_PASSWORD=pw"},
			want: map[string]string{"nats.url": "", "nats.user": "env", "nats.token_file": "", "nats.stream.name": "FILE", "nats.embedded.enabled": "false"},
		},
		"rotation with the one variable, and no file": {
			environ: []string{"PERSAT_WEBHOOK_SECRET=" + secret + ", " + oldSecret},
			want:    map[string]string{"sources.persat.secrets": secret + "," + oldSecret + ","},
		},
		"rotation with the one variable, in the reference": {
			text: "sources: {persat: {secrets: ['${PERSAT_WEBHOOK_SECRET}']}}\n", environ: []string{"PERSAT_WEBHOOK_SECRET=" + secret + "," + oldSecret},
			want: map[string]string{"sources.persat.secrets": secret + "," + oldSecret + ","},
		},
		"a password with a comma in it": {
			text: "sources: {a: {auth: basic, secrets: ['user:pass,word']}}\n",
			want: map[string]string{"sources.a.secrets": "user:pass,word,"},
		},
		"a variable replaces what the file could not expand": {
			text: "sources: {persat: {secrets: ['${MISSING}']}}\n", environ: []string{"PERSAT_BRIDGE_SOURCES_PERSAT_SECRETS=" + secret},
			want: map[string]string{"sources.persat.secrets": secret + ","},
		},
		"auth none from outside, and the reference's secret unset": {
			text: "sources: {persat: {secrets: ['${PERSAT_WEBHOOK_SECRET}']}}\n", environ: []string{"PERSAT_BRIDGE_SOURCES_PERSAT_AUTH=none"},
			want: map[string]string{"sources.persat.secrets": ""},
		},
		"rotation: the old secret is optional, the new one mounted": {
			text: "sources: {persat: {secrets: ['${OLD:-}', '" + oldSecret + "'], secrets_file: secrets}}\n",
			want: map[string]string{"sources.persat.secrets": oldSecret + "," + secret + ","},
		},
		"no file at all, and a mounted secret": {
			environ: []string{"PERSAT_BRIDGE_SOURCES_PERSAT_SECRETS_FILE=secrets"},
			want:    map[string]string{"sources.persat.secrets": secret + ","},
		},
		"a token from outside, and a token_file in the file": {
			text: auth + "admin: {token_file: gone}\n", environ: []string{"PERSAT_BRIDGE_ADMIN_TOKEN=outside"},
			want: map[string]string{"admin.token": "outside", "admin.token_file": ""},
		},
		"a token_file from outside, and a token in the file": {
			text: auth + "admin: {token: inside, listen: ':8081'}\n", environ: []string{"PERSAT_BRIDGE_ADMIN_TOKEN_FILE=token"},
			want: map[string]string{"admin.token": "mounted"},
		},
		"a password of the bridge's own beats the nats command's": {
			text: auth + "nats: {user: u}\n", environ: []string{"NATS_PASSWORD=theirs", "PERSAT_BRIDGE_NATS_PASSWORD_FILE=token"},
			want: map[string]string{"nats.password": "mounted"},
		},
		"a source with a dash in its name": {
			text: "sources: {field-north: {auth: none}}\n", environ: []string{"PERSAT_BRIDGE_SOURCES_FIELD_NORTH_TOLERANCE=1m"},
			want: map[string]string{"sources.field-north.tolerance": "1m0s", "sources.field-north.subject_prefix": "field-north"},
		},
		"a password with dollars in it": {
			text: auth + "nats: {user: '$$x$', password: 'a$b$${c}${D:-$}'}\n",
			want: map[string]string{"nats.user": "$$x$", "nats.password": "a$b${c}$"},
		},
		"a variable that looks like a variable": {
			text: auth + "nats: {user: '${A}'}\n", environ: []string{"A=${B}"},
			want: map[string]string{"nats.user": "${B}"},
		},
		"texts that look like other types": {
			text: auth + "nats: {user: 0123, password: true}\npublish: {max_in_flight: \"8\"}\n",
			want: map[string]string{"nats.user": "0123", "nats.password": "true", "publish.max_in_flight": "8"},
		},
		"addresses in every form": {
			text: "sources: {persat: {auth: none, allow_cidrs: [192.0.2.1, 198.51.100.9/24, '2001:db8::1', '::ffff:192.0.2.7', '::ffff:192.0.2.7/120']}}\n",
			want: map[string]string{"sources.persat.allow_cidrs": "[192.0.2.1/32 198.51.100.0/24 2001:db8::1/128 192.0.2.7/32 192.0.2.0/24]"},
		},
		"three ways to prove it": {
			text: "sources: {a: {auth: basic, secrets: ['user:pass:word']}, b: {auth: header, secrets: ['X-Key: v']}, c: {secrets: [" + secret[6:] + "]}}\n",
			want: map[string]string{"sources.a.secrets": "user:pass:word,", "sources.b.secrets": "X-Key: v,", "sources.c.secrets": secret[6:] + ","},
		},
		"a cluster": {
			text: auth + "nats: {url: 'nats://user:pw@a.example.com:4222, tls://b.example.com ,[2001:db8::1]:4222'}\n",
			want: map[string]string{"nats.url": "nats://user:pw@a.example.com:4222, tls://b.example.com ,[2001:db8::1]:4222"},
		},
		"stores beside each other": {
			text: auth + "journal: {dir: data/nats-journal}\nnats: {embedded: {store_dir: data/nats, listen: ''}}\n",
			want: map[string]string{"nats.embedded.listen": ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, "secrets", "# rotated in November\n\n "+secret+" \r\n")
			write(t, "token", "mounted\r\n")
			write(t, "bom", "\ufeff# rotated in November\r\n"+secret+"\r\n")
			newPair(t, "pair", 365*24*time.Hour)
			t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			contexts := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "nats", "context")
			if err := os.MkdirAll(contexts, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(contexts, "prod.json"), `{"url":"nats://prod.example.com"}`)
			path := ""
			if c.text != "" {
				path = "other.yaml"
				write(t, path, c.text)
			}
			cfg, _, err := Load(path, c.environ)
			if err != nil {
				t.Fatalf("Load: %v", err)
			}
			got := flat(cfg)
			maps.DeleteFunc(got, func(key, _ string) bool { _, asked := c.want[key]; return !asked })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFileNamedButNotThere(t *testing.T) {
	t.Chdir(t.TempDir())
	for path, want := range map[string]string{
		"nowhere.yaml": "nowhere.yaml: no such file or directory",
		".":            ".: is a directory",
	} {
		_, _, err := Load(path, nil)
		if _, ok := errors.AsType[Mistakes](err); !ok || err.Error() != want {
			t.Errorf("got error %v, want Mistakes %q", err, want)
		}
	}
}

func TestLoadWithoutSecrets(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "config.yaml", "sources:\n  north: {secrets: [\"${NORTH_SECRET}\"], secrets_file: ./not-here}\n  south: {auth: basic}\n")
	if _, _, err := Load("", nil); err == nil {
		t.Fatal("Load took sources without secrets")
	}
	cfg, _, err := LoadWithoutSecrets("", []string{"NORTH_SECRET=" + secret})
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Sources) != 2 || cfg.Sources["north"].Secrets != nil || cfg.Sources["north"].SubjectPrefix != "north" {
		t.Errorf("got sources %#v", cfg.Sources)
	}

	// Nothing else is forgiven.
	write(t, "config.yaml", "sources:\n  north: {secrets: [\"${NORTH_SECRET}\"], auth: magic}\nnats: {url: \"${NATS_OF_OURS}\"}\n")
	if _, _, err := LoadWithoutSecrets("", nil); err == nil || len(err.(Mistakes)) != 2 {
		t.Errorf("got %v, want two mistakes", err)
	}
}
