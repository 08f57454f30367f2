package persat

import (
	"encoding/json"
	"strings"
	"testing"
)

var almostJSON = []string{
	``, ` `, `{}`, ` [ ] `, `null`, `nul`, `nulL`, `true`, `false `, `truefalse`, `"`, `""`, `"a`, `"a\"`, `"\`, `"\u12"`, `"\u12g4"`, `"\uD800"`, `"\x"`,
	"\"\x1f\"", "\"\x7f\"", "\"\xff\"", "\"12345678\x00\"", "\"1234567\n\"", `"12345678"`, `"1234567\n"`, `"ññññññññ"`, `"ñ` + "\x01" + `ññññññ"`,
	`0`, `-0`, `00`, `-`, `01`, `1.`, `.1`, `1.5`, `1e`, `1e+`, `1E-7`, `1e5.`, `+1`, `0x1`, `1 2`, `-e`,
	`{"a":1}`, `{"a":1,}`, `{,"a":1}`, `{"a" 1}`, `{"a":}`, `{"a"}`, `{a:1}`, `{1:1}`, `{"a":1 "b":2}`, `{"a":1,"b":[{}]}`, `{"a":1]`, `[1}`, `[1,]`, `[,]`, `[1 2]`, `[[[]]`, `[]]`, `{}}`,
	"\ufeff{}", "{}\x00", "[1]\f", "[1,\v2]", `{"a":1}{"b":2}`,
}

func TestValidAgreesWithEncodingJSON(t *testing.T) {
	for _, text := range almostJSON {
		if got, want := valid([]byte(text)), json.Valid([]byte(text)); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	for _, depth := range []int{63, 64, 65, 9_999, 10_000, 10_001, 100_000} {
		for _, text := range []string{
			strings.Repeat("[", depth) + strings.Repeat("]", depth),
			strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth),
			strings.Repeat(`[{"a":`, depth/2) + "1" + strings.Repeat("}]", depth/2),
			strings.Repeat("[", depth) + strings.Repeat("]", depth-1) + "}",
		} {
			if got, want := valid([]byte(text)), json.Valid([]byte(text)); got != want {
				t.Errorf("depth %d, %.10s…: got %v, want %v", depth, text, got, want)
			}
		}
	}
}

func FuzzValid(f *testing.F) {
	for _, text := range almostJSON {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, want := valid(data), json.Valid(data); got != want {
			t.Errorf("%q: got %v, want %v", data, got, want)
		}
	})
}
