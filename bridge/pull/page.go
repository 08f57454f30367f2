package pull

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// page is one answer of the polling endpoint.
type page struct {
	Data     []json.RawMessage
	Iterator string
	Done     bool
}

// parsePage reads an answer. It is an error when the answer is no page; one item
// that is not as documented is none, see delivery.
func parsePage(body []byte) (page, error) {
	var p struct {
		Data     *[]json.RawMessage `json:"data"`
		Iterator string             `json:"iterator"`
		Done     *bool              `json:"done"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return page{}, fmt.Errorf("not JSON as documented: %w", plain(err))
	}
	switch {
	case p.Data == nil:
		return page{}, errors.New("no data")
	case p.Done == nil:
		return page{}, errors.New("no done")
	case p.Iterator == "" && !*p.Done:
		return page{}, errors.New("no iterator")
	}
	return page{Data: *p.Data, Iterator: p.Iterator, Done: *p.Done}, nil
}

// plain leaves out what an error of encoding/json quotes of the page.
func plain(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s is of the wrong type, at byte %d", e.Field, e.Offset)
	}
	return err
}

// item is one entry of a page, its values byte for byte.
type item struct {
	ID        *string         `json:"id"`
	EventType json.RawMessage `json:"eventType"`
	Payload   json.RawMessage `json:"payload"`
	Timestamp string          `json:"timestamp"`
}

// sent is when the sender sent the item; zero when the item does not say.
func (it item) sent() time.Time {
	at, _ := time.Parse(time.RFC3339, it.Timestamp)
	return at
}

// fetched makes deliveries of the page that was fetched at a position.
func (p page) fetched(source string, at position) fetched {
	f := fetched{behind: at, deliveries: make([]bridge.Delivery, 0, len(p.Data))}
	for _, text := range p.Data {
		d, sent := delivery(source, text)
		f.deliveries = append(f.deliveries, d)
		if sent.After(f.newest) {
			f.newest = sent
		}
	}
	if p.Iterator != "" {
		f.behind.Iterator = p.Iterator
	}
	if f.newest.After(f.behind.Time) {
		f.behind.Time = f.newest.UTC()
	}
	return f
}

// delivery makes one of an item. An item that is not as documented must not stop those
// behind it, and must not be lost: it is kept whole, as a dead letter.
func delivery(source string, text []byte) (d bridge.Delivery, sent time.Time) {
	var it item
	err := json.Unmarshal(text, &it)
	switch {
	case err != nil && it.ID == nil:
		return unusable(source, text, "a pulled item that is not as documented: "+plain(err).Error()), time.Time{}
	case it.ID == nil || !bridge.WellFormedID(*it.ID):
		return unusable(source, text, "a pulled item without an id, or with one that no header can carry"), it.sent()
	}
	d = bridge.Delivery{Source: source, ID: *it.ID, Pulled: true, Body: body(it)}
	envelope, err := persat.ReadEnvelope(d.Body)
	if err != nil {
		d.Unusable = err.Error()
		return d, it.sent()
	}
	d.Type, d.Kind, d.Entities = envelope.Type, envelope.OrderKind(), envelope.Entities
	return d, it.sent()
}

// unusable keeps an item under an id made of its bytes, so that its repeats are known.
func unusable(source string, text []byte, reason string) bridge.Delivery {
	sum := sha256.Sum256(text)
	return bridge.Delivery{Source: source, ID: "pull-" + hex.EncodeToString(sum[:16]), Pulled: true, Body: bytes.Clone(text), Unusable: reason}
}

// body is the item as a webhook would carry it.
func body(it item) []byte {
	var b bytes.Buffer
	b.Grow(len(it.EventType) + len(it.Payload) + 32)
	b.WriteString(`{`)
	if it.EventType != nil {
		b.WriteString(`"eventType":`)
		b.Write(it.EventType)
	}
	if it.EventType != nil && it.Payload != nil {
		b.WriteString(`,`)
	}
	if it.Payload != nil {
		b.WriteString(`"payload":`)
		b.Write(it.Payload)
	}
	b.WriteString(`}`)
	return b.Bytes()
}
