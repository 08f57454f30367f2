package journal

import (
	"testing"
	"time"
)

func FuzzParseValue(f *testing.F) {
	v := value{appended: time.Unix(1, 2), key: "k", header: []byte("h"), streamSeq: 3, at: time.Unix(4, 5), reason: "r", attempts: 6, seq: 7, digest: []byte("d")}
	f.Add(v.append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseValue(b)
		if err != nil {
			return
		}
		again, err := parseValue(v.append(nil))
		if err != nil {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
		if again.key != v.key || again.streamSeq != v.streamSeq || again.attempts != v.attempts || again.reason != v.reason {
			t.Errorf("got %+v, want %+v", again, v)
		}
	})
}
