package bridge

import (
	"reflect"
	"testing"
	"time"
)

func FuzzParseHeader(f *testing.F) {
	e := &Event{Source: "persat", ID: "msg_1", Type: "workorder.created", Entities: []string{"48", "ñ"}, Accepted: time.Unix(1, 2).UTC(), Traceparent: "00-…", Replay: 3, Size: 4, From: "192.0.2.7"}
	f.Add(appendHeader(nil, e))
	f.Add([]byte{headerVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseHeader(b)
		if err != nil {
			return
		}
		again, err := parseHeader(appendHeader(nil, e))
		if err != nil {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
		if e.Size >= 0 && e.Replay >= 0 && !reflect.DeepEqual(again, e) {
			t.Errorf("got %+v, want %+v", again, e)
		}
	})
}
