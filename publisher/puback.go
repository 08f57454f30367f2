package publisher

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pubAck is JetStream's acknowledgement, as far as it is used here.
type pubAck struct {
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
	Domain    string `json:"domain"`
	// Batch and Count are those of an atomic batch, whose last message has the sequence.
	Batch string `json:"batch"`
	Count int    `json:"count"`
}

// readPubAck reads the answer to a publish. Its errors are those of nats.go: a
// *jetstream.APIError, ErrNoStreamResponse or ErrInvalidJSAck.
func readPubAck(m *nats.Msg) (pubAck, error) {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return pubAck{}, jetstream.ErrNoStreamResponse
	}
	if ack, ok := scanPubAck(m.Data); ok {
		return ack, nil
	}
	var answer struct {
		pubAck
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return pubAck{}, jetstream.ErrInvalidJSAck
	}
	if answer.Error != nil {
		return pubAck{}, answer.Error
	}
	if answer.Stream == "" || answer.Sequence == 0 {
		return pubAck{}, jetstream.ErrInvalidJSAck
	}
	return answer.pubAck, nil
}

// scanPubAck reads the form in which the server writes nearly all acknowledgements,
//
//	{"stream":"PERSAT", "seq":4729}
//
// and leaves every other, and every name that needs an escape, to encoding/json, which
// takes ten times as long.
func scanPubAck(data []byte) (ack pubAck, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`))
	if !ok {
		return ack, false
	}
	end := bytes.IndexByte(rest, '"')
	if end <= 0 || !printable(rest[:end]) {
		return ack, false
	}
	ack.Stream = string(rest[:end])
	if rest, ok = bytes.CutPrefix(rest[end+1:], []byte(",")); !ok {
		return ack, false
	}
	if rest, ok = bytes.CutPrefix(bytes.TrimLeft(rest, " "), []byte(`"seq":`)); !ok {
		return ack, false
	}
	digits, ok := bytes.CutSuffix(rest, []byte("}"))
	if !ok || len(digits) == 0 || len(digits) > 19 || digits[0] == '0' {
		return ack, false
	}
	sequence, err := strconv.ParseUint(string(digits), 10, 64)
	ack.Sequence = sequence
	return ack, err == nil
}

// printable says that a JSON string holds nothing but printable ASCII, and no escape.
func printable(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}
