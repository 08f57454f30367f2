package config

import "testing"

func TestNearest(t *testing.T) {
	candidates := []string{"dir", "max_age", "max_attempts", "max_bytes", "retention", "retentions"}
	for name, c := range map[string]struct{ name, want string }{
		"a letter missing":            {"max_byte", "max_bytes"},
		"two letters swapped":         {"max_btyes", "max_bytes"},
		"another case":                {"MaxBytes", "max_bytes"},
		"a dash":                      {"max-age", "max_age"},
		"the nearest, not the last":   {"retention", "retention"},
		"three slips":                 {"mxbites", ""},
		"short names have no slip":    {"ir", ""},
		"short names have one slip":   {"dirs", "dir"},
		"nothing":                     {"", ""},
		"far longer than any of them": {"max_bytes_of_the_journal", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nearest(c.name, candidates); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
