package bridge

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// headerVersion begins every event header in the journal. The rest is in
// protobuf's wire format, so that a field can be added without a new version.
const headerVersion = 1

// The field numbers of a header. They are on disk: a number is never used for
// something else.
const (
	fieldSource      = 1
	fieldID          = 2
	fieldType        = 3
	fieldEntity      = 4 // once for each
	fieldAccepted    = 5 // unix nanoseconds
	fieldTraceparent = 6
	fieldReplay      = 7
	fieldSize        = 8 // of the body, in bytes
	fieldKind        = 9 // only where it is not the type's first word
	fieldPulled      = 10
	fieldFrom        = 11
)

var errHeader = errors.New("event header is damaged")

// appendHeader writes what the journal keeps of e beside its body.
func appendHeader(b []byte, e *Event) []byte {
	b = append(b, headerVersion)
	b = appendText(b, fieldSource, e.Source)
	b = appendText(b, fieldID, e.ID)
	b = appendText(b, fieldType, e.Type)
	for _, entity := range e.Entities {
		b = protowire.AppendTag(b, fieldEntity, protowire.BytesType)
		b = protowire.AppendString(b, entity)
	}
	b = protowire.AppendTag(b, fieldAccepted, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(e.Accepted.UnixNano()))
	b = appendText(b, fieldTraceparent, e.Traceparent)
	b = appendNumber(b, fieldReplay, e.Replay)
	b = appendNumber(b, fieldSize, e.Size)
	if word, _, _ := strings.Cut(e.Type, "."); e.Kind != word {
		b = appendText(b, fieldKind, e.Kind)
	}
	if e.Pulled {
		b = appendNumber(b, fieldPulled, 1)
	}
	b = appendText(b, fieldFrom, e.From)
	return b
}

func appendNumber(b []byte, field protowire.Number, n int) []byte {
	if n == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(n))
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

// parseHeader reads what appendHeader wrote. Seq and Body are not in it.
func parseHeader(b []byte) (*Event, error) {
	if len(b) == 0 {
		return nil, errHeader
	}
	if b[0] != headerVersion {
		return nil, fmt.Errorf("event header has version %d, this program knows %d: use the program that wrote it or a newer one", b[0], headerVersion)
	}
	e := new(Event)
	for b = b[1:]; len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, errHeader
		}
		b = b[n:]
		var number uint64
		var text []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			text, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return nil, errHeader
		}
		b = b[n:]
		switch field {
		case fieldSource:
			e.Source = string(text)
		case fieldID:
			e.ID = string(text)
		case fieldType:
			e.Type = string(text)
		case fieldEntity:
			e.Entities = append(e.Entities, string(text))
		case fieldAccepted:
			e.Accepted = time.Unix(0, int64(number)).UTC()
		case fieldTraceparent:
			e.Traceparent = string(text)
		case fieldReplay:
			e.Replay = int(number)
		case fieldSize:
			e.Size = int(number)
		case fieldKind:
			e.Kind = string(text)
		case fieldPulled:
			e.Pulled = number != 0
		case fieldFrom:
			e.From = string(text)
		}
	}
	if e.Source == "" || e.ID == "" || e.Accepted.IsZero() {
		return nil, errHeader
	}
	if e.Kind == "" {
		e.Kind, _, _ = strings.Cut(e.Type, ".")
	}
	return e, nil
}
