package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	rulesFile     = "deploy/prometheus/rules/alerts.yml"
	dashboardFile = "deploy/grafana/dashboards/persat-bridge.json"
)

type alertRule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func alertRules(t *testing.T) []alertRule {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []alertRule `yaml:"rules"`
		} `yaml:"groups"`
	}
	readYAML(t, rulesFile, &file)
	var rules []alertRule
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	if len(rules) == 0 {
		t.Fatal("no alert rules")
	}
	return rules
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAlertsSayWhatToDo keeps an alert from waking somebody without telling him
// what to do, and from being there untested.
func TestAlertsSayWhatToDo(t *testing.T) {
	var tests struct {
		Tests []struct {
			Name string `yaml:"name"`
		} `yaml:"tests"`
	}
	readYAML(t, "testdata/alerts/alerts_test.yml", &tests)
	var names []string
	for _, test := range tests.Tests {
		names = append(names, test.Name)
	}
	for _, rule := range alertRules(t) {
		for _, annotation := range []string{"summary", "description", "runbook"} {
			if rule.Annotations[annotation] == "" {
				t.Errorf("%s has no %s", rule.Alert, annotation)
			}
		}
		if severity := rule.Labels["severity"]; severity != "page" && severity != "ticket" {
			t.Errorf("%s: severity is %q, want page or ticket", rule.Alert, severity)
		}
		for _, test := range []string{rule.Alert + " fires", rule.Alert + " does not fire"} {
			if !slices.Contains(names, test) {
				t.Errorf("testdata/alerts has no test %q", test)
			}
		}
	}
}

// TestAlertsFire runs Prometheus's own tests of the rules, and its parser over the
// queries of the dashboard.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	promtool := needTool(t, "promtool", "promtool", filepath.Join("..", "..", "bin", "promtool"))
	dir := t.TempDir()
	for _, file := range []string{rulesFile, "testdata/alerts/alerts_test.yml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A query is parsed as the rule that it could be.
	var rules []map[string]any
	for i, query := range dashboardQueries(t) {
		rules = append(rules, map[string]any{"record": "query", "expr": query, "labels": map[string]string{"number": strconv.Itoa(i)}})
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dashboard.yml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}, {"check", "rules", "dashboard.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// dashboardQueries are all queries of the dashboard, its variables filled in.
func dashboardQueries(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard any
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatalf("%s: %v", dashboardFile, err)
	}
	var queries []string
	var collect func(v any)
	collect = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if query, ok := v["expr"].(string); ok {
				queries = append(queries, strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*", "$source", ".*").Replace(query))
			}
			for _, child := range v {
				collect(child)
			}
		case []any:
			for _, child := range v {
				collect(child)
			}
		}
	}
	collect(dashboard)
	if len(queries) < 20 {
		t.Fatalf("%d queries in %s, want all", len(queries), dashboardFile)
	}
	return queries
}

// TestQueriesHaveMetrics keeps alerts and dashboard from asking for what no bridge
// has: such an alert never fires.
func TestQueriesHaveMetrics(t *testing.T) {
	known := seriesNames(t, freshRegistry(t))
	// Names stand before a selector, a range, or an end; quoted text and labels do not.
	quoted := regexp.MustCompile(`"[^"]*"`)
	grouping := regexp.MustCompile(`\b(by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)`)
	selector := regexp.MustCompile(`\{[^}]*\}`)
	name := regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	call := regexp.MustCompile(`\b[a-z_]+\s*\(`)
	check := func(where, query string) {
		plain := query
		for _, cut := range []*regexp.Regexp{quoted, selector, grouping, call, regexp.MustCompile(`\[[^\]]*\]`)} {
			plain = cut.ReplaceAllString(plain, " ")
		}
		for _, word := range name.FindAllString(plain, -1) {
			if slices.Contains([]string{"and", "or", "unless", "bool", "sum", "min", "max", "count", "by", "on"}, word) {
				continue
			}
			if !slices.Contains(known, word) {
				t.Errorf("%s asks for %s, which no bridge has: %s", where, word, query)
			}
		}
	}
	for _, rule := range alertRules(t) {
		check(rule.Alert, rule.Expr)
		for _, text := range rule.Annotations {
			for _, word := range regexp.MustCompile(`persat_bridge_\w+`).FindAllString(text, -1) {
				check(rule.Alert+"'s words", word)
			}
		}
	}
	for _, query := range dashboardQueries(t) {
		check("the dashboard", query)
	}
	variables, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`label_values\((\w+),`).FindAllStringSubmatch(string(variables), -1) {
		check("the dashboard's variable", m[1])
	}
}
