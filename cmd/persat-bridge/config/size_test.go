package config

import "testing"

func TestSize(t *testing.T) {
	for text, want := range map[string]struct {
		size Size
		text string
	}{
		"0":                   {0, "0"},
		"1":                   {1, "1"},
		"512B":                {512, "512"},
		"64KiB":               {64 << 10, "64KiB"},
		"4MiB":                {4 << 20, "4MiB"},
		"10 GiB":              {10 << 30, "10GiB"},
		"1024GiB":             {1 << 40, "1TiB"},
		"1kB":                 {1000, "1kB"},
		"64MB":                {64_000_000, "64MB"},
		"62500KiB":            {64_000_000, "64MB"},
		"8MB":                 {8_000_000, "8MB"},
		"1500MB":              {1_500_000_000, "1500MB"},
		"9223372036854775807": {1<<63 - 1, "9223372036854775807"},
		"8388607TiB":          {8388607 << 40, "8388607TiB"},
	} {
		got, err := ParseSize(text)
		if err != nil || got != want.size || got.String() != want.text {
			t.Errorf("%s: got %d %q, error %v, want %d %q", text, int64(got), got, err, want.size, want.text)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%s: read back as %d, error %v", got, again, err)
		}
	}
	for name, text := range map[string]string{
		"nothing":               "",
		"a unit alone":          "MiB",
		"a letter means either": "10G",
		"another case":          "10gib",
		"negative":              "-1",
		"a sign":                "+1",
		"a fraction":            "1.5GiB",
		"two spaces":            "1  GiB",
		"two units":             "1KiBMiB",
		"over an int64":         "8388608TiB",
		"far over":              "99999999999999999999",
		"digits in groups":      "1_000",
	} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%s: got %d for %q, want an error", name, got, text)
		}
	}
}
