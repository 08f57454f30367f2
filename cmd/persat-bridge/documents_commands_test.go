package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
)

// elsewhere are the commands of the documents that this file cannot check by itself, by
// their beginning: which test runs them, or why none does.
var elsewhere = map[string]string{
	"nats stream subjects PERSAT":  "TestNATSCLI",
	"nats stream get PERSAT":       "TestNATSCLI, TestConsumingByEntityCLI, TestReadmeConsumers",
	"nats sub ":                    "TestNATSCLI, TestReadmeConsumers",
	"nats consumer add PERSAT":     "TestNATSCLI, TestConsumingByEntityCLI, TestReadmeConsumers",
	"nats consumer next PERSAT":    "TestNATSCLI, TestReadmeConsumers",
	"nats consumer info PERSAT":    "TestNATSCLI, TestReadmeConsumers",
	"nats consumer report PERSAT":  "TestConsumingByEntityCLI",
	"nats stream add --config":     "TestConsumingByEntityCLI, TestOraclePartitions",
	"nats stream rm PERSAT_4":      "TestConsumingByEntityCLI, TestOraclePartitions",
	"nats stream purge PERSAT":     "TestConsumingByEntityCLI",
	"nats consumer reset PERSAT":   "TestConsumerReset, through the Go client: the sequence is the reader's own",
	"nats kv get PERSAT_LATEST":    "TestView of bridge/persat/examples/latest, through the Go client",
	"nats stream edit PERSAT":      "TestNATSCLIStreamEdit",
	"nats stream backup PERSAT":    "TestWaysInWhichAStreamDiffers of bridge restores backups, by copies of the store",
	"cp .env.example .env":         "TestCompose, with -compose: it needs a Docker engine",
	"sed -i ":                      "TestEnvSecret",
	"docker-compose ":              "TestCompose, with -compose: it needs a Docker engine",
	"curl -X POST http://127.":     "TestPage, with the page's button",
	"curl -X PUT -d ":              "TestPage, with the page's list",
	"export PERSAT_WEBHOOK_SECRET": "a variable of the shell: the tests set it in the environment of their processes",
	"echo whsec_":                  "TestEnvSecret has the same secret",
	"ssh -L 8081":                  "not run: it needs another host",
	"sleep 2":                      "not run: it waits for the bridge",
	"kill -HUP":                    "TestSIGHUPReadsTheSecrets, TestSIGHUPReadsTheCertificate",
	"systemctl reload":             "not run: it needs systemd",
	"systemctl enable --now":       "TestPackages, with -nfpm: it needs root",
	"systemctl edit":               "not run: it needs systemd",
	"sha256sum --check":            "not run: it needs a release",
	"dpkg -i persat-bridge":        "TestPackages, with -nfpm: it needs root",
	"install -m 0640":              "TestPackages, with -nfpm: it needs root",
	"cp cmd/persat-bridge/deploy/": "TestKubernetesConfiguration reads the file",
	"kubectl ":                     "not run: it needs a cluster. The module in deploy/kubernetes decodes the manifest",
}

// commandsOf are the commands of a document: the lines of its shell blocks, and the code
// in its text that begins with the name of a program.
func commandsOf(text string) []string {
	var all []string
	for _, block := range fence.FindAllString(text, -1) {
		body, isShell := strings.CutPrefix(block, "```sh\n")
		if !isShell {
			continue
		}
		for line := range strings.Lines(strings.TrimSuffix(body, "```")) {
			line, _, _ = strings.Cut(line, "   #")
			line, _, _ = strings.Cut(line, "  #")
			for part := range strings.SplitSeq(line, " && ") {
				for one := range strings.SplitSeq(part, "; ") {
					if one = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(one), "&")); one != "" {
						all = append(all, one)
					}
				}
			}
		}
	}
	program := regexp.MustCompile("`((?:(?:bin/)?persat-bridge|make|go|nats|curl|docker-compose|kubectl|ssh|kill|systemctl|echo) [^`]+)`")
	for _, m := range program.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		all = append(all, m[1])
	}
	return all
}

// Every command of the documents is one: the program has the subcommand and the flags, the
// Makefile the target, the package the test, or a test runs it.
func TestDocumentedCommands(t *testing.T) {
	makefile := readDocument(t, "../../Makefile")
	used := make(map[string]bool)
	for name, text := range documents(t) {
		for _, line := range commandsOf(text) {
			args := strings.Fields(line)
			switch args[0] {
			case "persat-bridge", "bin/persat-bridge":
				if args[1] == "COMMAND" {
					continue
				}
				root := (&program{}).root()
				c, rest, err := root.Find(args[1:])
				if err == nil && c == root {
					t.Errorf("%s: %s: no such command", name, line)
					continue
				}
				if err == nil {
					err = c.ParseFlags(rest)
				}
				if err != nil {
					t.Errorf("%s: %s: %v", name, line, err)
				}
				continue
			case "make":
				if !strings.Contains(makefile, "\n"+args[1]+":") {
					t.Errorf("%s: %s: the Makefile has no such target", name, line)
				}
				continue
			case "go":
				checkGo(t, name, line, args)
				continue
			}
			i := slices.IndexFunc(slices.Collect(maps.Keys(elsewhere)), func(begins string) bool { return strings.HasPrefix(line, begins) })
			if i < 0 {
				t.Errorf("%s: %s: no test runs it, and no reason is given why", name, line)
			}
			for begins := range elsewhere {
				used[begins] = used[begins] || strings.HasPrefix(line, begins)
			}
		}
	}
	tests := ""
	for _, pattern := range []string{"*_test.go", "../../bridge/*_test.go", "../../bridge/persat/examples/*/*_test.go", "deploy/packages/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			tests += readDocument(t, file)
		}
	}
	for begins, why := range elsewhere {
		if !used[begins] {
			t.Errorf("no document has the command %q", begins)
		}
		for _, test := range regexp.MustCompile(`Test\w+`).FindAllString(why, -1) {
			if !strings.Contains(tests, "\nfunc "+test+"(") {
				t.Errorf("%s: there is no %s", begins, test)
			}
		}
	}
}

// The lines of README.md that make .env, at a reader's shell: the secret is one.
func TestEnvSecret(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".env.example"), []byte(readDocument(t, "../../.env.example")), 0o600); err != nil {
		t.Fatal(err)
	}
	var script []string
	for line := range strings.Lines(readDocument(t, readmeFile)) {
		if strings.HasPrefix(line, "cp .env") || strings.HasPrefix(line, "sed -i") {
			script = append(script, line)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", strings.Join(script, ""))
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil || len(script) != 2 {
		t.Fatalf("%q: %v\n%s", script, err, output)
	}
	_, rest, _ := strings.Cut(readDocument(t, filepath.Join(dir, ".env")), "\nPERSAT_WEBHOOK_SECRET=")
	got, _, _ := strings.Cut(rest, "\n")
	t.Setenv("PERSAT_WEBHOOK_SECRET", got)
	if _, _, err := config.Load("../../config.yaml", os.Environ()); err != nil {
		t.Errorf("the secret %q: %v", got, err)
	}
}

// checkGo finds the package and the test of a go command.
func checkGo(t *testing.T, name, line string, args []string) {
	t.Helper()
	dir := ""
	for _, a := range args {
		if strings.HasPrefix(a, "./") && dir == "" {
			dir = "../../" + a
		}
	}
	entries, err := os.ReadDir(dir)
	if dir == "" || err != nil {
		if args[1] != "get" {
			t.Errorf("%s: %s: no such package: %v", name, line, err)
		}
		return
	}
	i := slices.Index(args, "-run")
	if i < 0 {
		return
	}
	for pattern := range strings.SplitSeq(strings.Trim(args[i+1], "'"), "|") {
		found := false
		test := regexp.MustCompile(`(?m)^func Test\w*` + regexp.QuoteMeta(strings.TrimPrefix(pattern, "Test")))
		for _, e := range entries {
			found = found || strings.HasSuffix(e.Name(), "_test.go") && test.MatchString(readDocument(t, dir+"/"+e.Name()))
		}
		if !found {
			t.Errorf("%s: %s: no test has the name %s", name, line, pattern)
		}
	}
}

// Every key that a document names exists, and every variable of one.
func TestDocumentedKeys(t *testing.T) {
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(readDocument(t, "../../config.yaml")), &root); err != nil {
		t.Fatal(err)
	}
	keys, variables := make(map[string]bool), make(map[string]bool)
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
			key := strings.TrimPrefix(path+"."+n.Content[i].Value, ".")
			keys[key] = true
			variables["PERSAT_BRIDGE_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = true
			walk(n.Content[i+1], key)
		}
	}
	walk(root.Content[0], "")
	variables["PERSAT_BRIDGE_PURGE_DATA"] = true // of deploy/packages/postremove.sh
	key := regexp.MustCompile("`((?:server|admin|sources|journal|nats|publish|accept|tracing|alerts|log)\\.[a-zA-Z_.]+)(?:: [^`]+)?`")
	variable := regexp.MustCompile(`PERSAT_BRIDGE_[A-Z_]+`)
	found := 0
	for name, text := range documents(t) {
		for _, m := range key.FindAllStringSubmatch(text, -1) {
			found++
			if k := strings.Replace(m[1], "sources.X.", "sources.persat.", 1); !keys[k] {
				t.Errorf("%s: no key %s", name, m[1])
			}
		}
		for _, v := range variable.FindAllString(text, -1) {
			if v != "PERSAT_BRIDGE_" && !variables[v] {
				t.Errorf("%s: no key has the variable %s", name, v)
			}
		}
	}
	if found < 100 {
		t.Errorf("got %d keys in the documents, want more", found)
	}
}

// Every metric and every alert that a document names exists.
func TestDocumentedMetrics(t *testing.T) {
	rules := readDocument(t, "deploy/prometheus/rules/alerts.yml")
	name := regexp.MustCompile(`persat_bridge_[a-z_]+`)
	alert := regexp.MustCompile(`PersatBridge[A-Za-z]+`)
	found := 0
	for file, text := range documents(t) {
		for _, m := range name.FindAllString(text, -1) {
			found++
			if _, ok := contractMetrics[m]; !ok {
				t.Errorf("%s: no metric %s", file, m)
			}
		}
		for _, a := range alert.FindAllString(text, -1) {
			found++
			if !strings.Contains(rules, "alert: "+a+"\n") {
				t.Errorf("%s: no alert %s", file, a)
			}
		}
	}
	if found < 20 {
		t.Errorf("got %d metrics and alerts in the documents, want more", found)
	}
	for line := range strings.Lines(rules) {
		if _, a, ok := strings.Cut(line, "alert: "); ok && !strings.Contains(readDocument(t, "../../docs/operating.md"), strings.TrimSpace(a)) {
			t.Errorf("docs/operating.md does not have the alert %s", strings.TrimSpace(a))
		}
	}
}
