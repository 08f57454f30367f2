package publisher

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestReadPubAck(t *testing.T) {
	tests := []struct {
		name, data string
		status     string
		want       pubAck
		err        error // nil with a want
	}{
		{"as the server writes it", `{"stream":"PERSAT", "seq":4729}`, "", pubAck{Stream: "PERSAT", Sequence: 4729}, nil},
		{"packed", `{"stream":"PERSAT","seq":1}`, "", pubAck{Stream: "PERSAT", Sequence: 1}, nil},
		{"duplicate", `{"stream":"PERSAT","seq":7,"duplicate": true}`, "", pubAck{Stream: "PERSAT", Sequence: 7, Duplicate: true}, nil},
		{"domain", `{"stream":"PERSAT","domain":"hub","seq":7}`, "", pubAck{Stream: "PERSAT", Sequence: 7, Domain: "hub"}, nil},
		{"in another order", `{"seq":7,"stream":"PERSAT"}`, "", pubAck{Stream: "PERSAT", Sequence: 7}, nil},
		{"a name with an escape", `{"stream":"P\"X","seq":7}`, "", pubAck{Stream: `P"X`, Sequence: 7}, nil},
		{"members of a later version", `{"stream":"PERSAT","seq":7,"val":"x","later":{"a":1}}`, "", pubAck{Stream: "PERSAT", Sequence: 7}, nil},
		{"nobody answers", ``, "503", pubAck{}, jetstream.ErrNoStreamResponse},
		{"empty", ``, "", pubAck{}, jetstream.ErrInvalidJSAck},
		{"a core responder", `ok`, "", pubAck{}, jetstream.ErrInvalidJSAck},
		{"no sequence", `{"stream":"PERSAT"}`, "", pubAck{}, jetstream.ErrInvalidJSAck},
		{"sequence 0", `{"stream":"PERSAT", "seq":0}`, "", pubAck{}, jetstream.ErrInvalidJSAck},
		{"a sequence that is none", `{"stream":"PERSAT", "seq":1.5}`, "", pubAck{}, jetstream.ErrInvalidJSAck},
		{"a sequence beyond 64 bits", `{"stream":"PERSAT", "seq":99999999999999999999}`, "", pubAck{}, jetstream.ErrInvalidJSAck},
		{"no comma", `{"stream":"PERSAT""seq":1}`, "", pubAck{}, jetstream.ErrInvalidJSAck},
		{"more behind it", `{"stream":"PERSAT", "seq":1}}`, "", pubAck{}, jetstream.ErrInvalidJSAck},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &nats.Msg{Data: []byte(tt.data)}
			if tt.status != "" {
				m.Header = nats.Header{"Status": {tt.status}}
			}
			got, err := readPubAck(m)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %+v, %v, want %+v, %v", got, err, tt.want, tt.err)
			}
		})
	}
	_, err := readPubAck(&nats.Msg{Data: []byte(`{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"PERSAT","seq":0}`)})
	if api, ok := errors.AsType[*jetstream.APIError](err); !ok || api.ErrorCode != 10077 {
		t.Errorf("an error: got %v, want the server's with code 10077", err)
	}
}

// What the scanner takes, encoding/json reads the same.
func FuzzScanPubAck(f *testing.F) {
	f.Add([]byte(`{"stream":"PERSAT", "seq":4729}`))
	f.Add([]byte(`{"stream":"PERSAT","seq":18446744073709551615}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := scanPubAck(data)
		if !ok {
			return
		}
		var want pubAck
		if err := json.Unmarshal(data, &want); err != nil || got != want {
			t.Errorf("%q: got %+v, encoding/json %+v, %v", data, got, want, err)
		}
	})
}
