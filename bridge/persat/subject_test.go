package persat

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// vectors are the cases that the functions of every language agree on: for Go here,
// for JavaScript and Python in the tests of package schema.
type vectors struct {
	Tokens []struct {
		Name     string
		Entities []string
		Token    string
		Entity   *string // what the token stands for; nil when it does not tell
	}
	NoEntity []string
}

func readVectors(t testing.TB) (v vectors) {
	t.Helper()
	text, err := os.ReadFile("../../clients/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSubjectToken(t *testing.T) {
	v := readVectors(t)
	for _, c := range v.Tokens {
		if got := SubjectToken(c.Entities); got != c.Token {
			t.Errorf("%s: token of %q: got %q, want %q", c.Name, c.Entities, got, c.Token)
		}
		entity, ok := EntityOf(c.Token)
		if ok != (c.Entity != nil) || ok && entity != *c.Entity {
			t.Errorf("%s: entity of %q: got %q, %v", c.Name, c.Token, entity, ok)
		}
	}
	for _, token := range v.NoEntity {
		if entity, ok := EntityOf(token); ok {
			t.Errorf("%q is no identity's token, but EntityOf returned %q", token, entity)
		}
	}
	if len(v.Tokens) < 20 || len(v.NoEntity) < 20 {
		t.Errorf("got %d and %d vectors", len(v.Tokens), len(v.NoEntity))
	}
}

// A body's identity may be any text: escaped it is one token of a subject, and the
// token of nothing else.
func FuzzSubjectToken(f *testing.F) {
	for _, c := range readVectors(f).Tokens {
		f.Add(strings.Join(c.Entities, ""), c.Token)
	}
	token := regexp.MustCompile(`\A(([A-Za-z0-9_-]|%[0-9A-F]{2}){1,128}|~[0-9a-f]{32}|~none)\z`)
	f.Fuzz(func(t *testing.T, a, b string) {
		tokenA, tokenB := SubjectToken([]string{a}), SubjectToken([]string{b})
		if !token.MatchString(tokenA) || len(tokenA) > maxTokenBytes {
			t.Errorf("%q: %q is no token of a subject", a, tokenA)
		}
		if tokenA == tokenB && a != b {
			t.Errorf("%q and %q share the token %q", a, b, tokenA)
		}
		if entity, ok := EntityOf(tokenA); ok == strings.HasPrefix(tokenA, "~") || ok && entity != a {
			t.Errorf("%q: EntityOf(%q) is %q, %v", a, tokenA, entity, ok)
		}
		// Whatever a stranger publishes on, EntityOf inverts tokens and nothing else.
		if entity, ok := EntityOf(a); ok && SubjectToken([]string{entity}) != a {
			t.Errorf("%q is no token, but EntityOf returned %q", a, entity)
		}
	})
}
