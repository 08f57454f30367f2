package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/bridge/persat/schema"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
)

func (p *program) asyncapiCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "asyncapi",
		Short: "Print the AsyncAPI 3 document for the configured sources",
		Long:  "Print what consumers get from this bridge, as an AsyncAPI 3.0 document: where NATS is, the subjects of\nevery configured source, and the headers and payload of each event. The sources' secrets are not needed.",
		Args:  noArgs,
	}
	file := configFlag(c)
	asJSON := c.Flags().Bool("json", false, "JSON instead of YAML")
	c.RunE = func(*cobra.Command, []string) error {
		cfg, _, err := p.loadWithoutSecrets(*file)
		if err != nil {
			return err
		}
		document, err := newAsyncDocument(cfg)
		if err != nil {
			return err
		}
		text, err := document.text(*asJSON)
		if err != nil {
			return err
		}
		_, err = p.stdout.Write(text)
		return err
	}
	return c
}

// asyncDocument is an AsyncAPI 3.0 document, as far as it is used here.
type asyncDocument struct {
	AsyncAPI           string                    `json:"asyncapi"`
	Info               asyncInfo                 `json:"info"`
	DefaultContentType string                    `json:"defaultContentType"`
	Servers            map[string]asyncServer    `json:"servers,omitempty"`
	Channels           map[string]asyncChannel   `json:"channels"`
	Operations         map[string]asyncOperation `json:"operations"`
	Components         asyncComponents           `json:"components"`
}

type asyncInfo struct {
	Title       string `json:"title"`
	Version     string `json:"version"`
	Description string `json:"description"`
}

type asyncServer struct {
	Host        string `json:"host"`
	Pathname    string `json:"pathname,omitempty"`
	Protocol    string `json:"protocol"`
	Description string `json:"description"`
}

type asyncChannel struct {
	Address     string                    `json:"address"`
	Title       string                    `json:"title"`
	Description string                    `json:"description,omitempty"`
	Parameters  map[string]asyncParameter `json:"parameters,omitempty"`
	Messages    map[string]asyncRef       `json:"messages"`
	Stream      string                    `json:"x-jetstream-stream"`
}

// asyncParameter is a part of an address that differs from event to event.
type asyncParameter struct {
	Description string   `json:"description"`
	Examples    []string `json:"examples"`
}

type asyncRef struct {
	Ref string `json:"$ref"`
}

type asyncOperation struct {
	Action   string     `json:"action"`
	Summary  string     `json:"summary"`
	Channel  asyncRef   `json:"channel"`
	Messages []asyncRef `json:"messages"`
}

type asyncComponents struct {
	Messages map[string]asyncMessage `json:"messages"`
	Schemas  map[string]any          `json:"schemas"`
}

type asyncMessage struct {
	Name        string         `json:"name"`
	Title       string         `json:"title"`
	Description string         `json:"description"`
	ContentType string         `json:"contentType"`
	Confirmed   bool           `json:"x-confirmed"`
	Assumed     bool           `json:"x-assumed,omitempty"`
	Headers     asyncRef       `json:"headers"`
	Payload     asyncRef       `json:"payload"`
	Examples    []asyncExample `json:"examples,omitempty"`
}

type asyncExample struct {
	Name    string            `json:"name"`
	Headers map[string]string `json:"headers"`
	Payload json.RawMessage   `json:"payload"`
}

// otherTypes is the name, after a source's prefix, of the channel for what the
// catalogue does not have. No event type of the catalogue is one word.
const otherTypes = "other"

const asyncDescription = `Events of Persat (work orders, deliveries, delivery routes, forms, clients) as persat-bridge publishes them to NATS JetStream, stream %s.

The payload is the body of Persat's request, byte for byte. The headers are a CloudEvent in binary mode, values percent-encoded.
Delivery is at least once: be idempotent by ce-source and ce-id. Events of one entity come in the order in which they were accepted, which need not be the order in which they happened: an old snapshot can arrive more than a day late.

x-confirmed says whether a fact was read in Persat's documentation; what was not is inferred. Schemas enforce only what was. x-assumed marks an event whose page names no event type: its name here is a placeholder.`

// newAsyncDocument describes what consumers of a bridge with this configuration
// get.
func newAsyncDocument(cfg *config.Config) (*asyncDocument, error) {
	servers, err := asyncServers(cfg)
	if err != nil {
		return nil, err
	}
	d := &asyncDocument{
		AsyncAPI:           "3.0.0",
		Info:               asyncInfo{"Persat events", thisVersion(), fmt.Sprintf(asyncDescription, cfg.NATS.Stream.Name)},
		DefaultContentType: "application/json",
		Servers:            servers,
		Channels:           make(map[string]asyncChannel),
		Operations:         make(map[string]asyncOperation),
		Components:         asyncComponents{Messages: make(map[string]asyncMessage)},
	}
	sources := slices.Sorted(maps.Keys(cfg.Sources))
	if err := d.addSchemas(); err != nil {
		return nil, err
	}
	d.Components.Schemas["headers"] = headersSchema(sources)
	for _, e := range persat.Catalogue() {
		if err := d.addEvent(e, sources[0]); err != nil {
			return nil, err
		}
	}
	d.Components.Messages[otherTypes] = asyncMessage{
		Name: otherTypes, Title: "An event of any other type", ContentType: "application/json",
		Description: "The same headers and envelope, with an undocumented payload. The events whose name is assumed arrive here when Persat calls them by another.",
		Headers:     asyncRef{"#/components/schemas/headers"}, Payload: asyncRef{"#/components/schemas/any"},
	}
	for _, name := range sources {
		d.addSource(name, cfg.Sources[name], cfg.NATS.Stream.Name)
	}
	return d, nil
}

// addEvent adds the message of a catalogued event. The example is of source.
func (d *asyncDocument) addEvent(e persat.Entry, source string) error {
	sample, err := persat.Sample(e.Type, "")
	if err != nil {
		return err
	}
	envelope, err := persat.ReadEnvelope(sample)
	if err != nil {
		return err
	}
	description := e.Fires + "."
	if e.Caveat != "" {
		description += " " + e.Caveat
	}
	title := e.Title
	switch {
	case e.Assumed:
		title += " (name assumed)"
		description += " Nobody has read the name of this event: it may arrive under another, on the channel of every other type."
	case !e.Confirmed:
		description += " The event type is inferred from the title of a page."
	}
	d.Components.Messages[e.Type] = asyncMessage{
		Name: e.Type, Title: title, Description: description, ContentType: "application/json", Confirmed: e.Confirmed, Assumed: e.Assumed,
		Headers: asyncRef{"#/components/schemas/headers"}, Payload: asyncRef{"#/components/schemas/" + e.Type},
		Examples: []asyncExample{{Name: "sample", Headers: exampleHeaders(source, envelope), Payload: sample}},
	}
	return nil
}

// addSchemas adds the definitions of the bundle: an event's under its event type.
func (d *asyncDocument) addSchemas() error {
	text := bytes.ReplaceAll(schema.Bundle(), []byte(`"#/$defs/`), []byte(`"#/components/schemas/`))
	var bundle struct {
		Definitions map[string]any `json:"$defs"`
	}
	if err := json.Unmarshal(text, &bundle); err != nil {
		return fmt.Errorf("read schemas: %w", err)
	}
	d.Components.Schemas = bundle.Definitions
	return nil
}

// addSource adds a channel for each event of a source, and one for the rest.
func (d *asyncDocument) addSource(source string, s config.Source, stream string) {
	prefix, token, published := s.SubjectPrefix, "", "its type"
	var parameters map[string]asyncParameter
	if s.ByEntity() {
		token, published = ".{entity}", "its type and entity"
		parameters = map[string]asyncParameter{"entity": entityParameter()}
	}
	for _, e := range persat.Catalogue() {
		d.addChannel(prefix+"."+e.Type, e.Type, asyncChannel{
			Address:    prefix + "." + e.Type + token,
			Title:      fmt.Sprintf("%s (source %s)", e.Title, source),
			Parameters: parameters,
			Stream:     stream,
		})
	}
	d.addChannel(prefix+"."+otherTypes, otherTypes, asyncChannel{
		Address: prefix + ".>",
		Title:   fmt.Sprintf("Events of every other type (source %s)", source),
		Description: "A pattern to subscribe to, not a subject: each event is published on " + prefix + ". and " + published + ". In NATS, > stands for all that follows and * for one word between dots, " +
			"so " + prefix + ".> also matches the events that have a channel of their own, and " + prefix + ".workorder.> all of work orders. " +
			"Subscribe to it if you want the event types that Persat will have one day.",
		Stream: stream,
	})
}

// entityParameter describes the last token of a subject by entity.
func entityParameter() asyncParameter {
	return asyncParameter{
		Description: "The identity of the entity, with every byte of its UTF-8 outside A-Z a-z 0-9 _ - as %XX; ~many for an event about several, ~none for none, and ~ with 32 hexadecimal digits of its SHA-256 for an identity that would be longer than 128 bytes.",
		Examples: []string{
			persat.SubjectToken([]string{"48"}), persat.SubjectToken([]string{"Ferretería Ñandú 5%"}), persat.SubjectToken([]string{"48", "49"}), persat.SubjectToken(nil),
		},
	}
}

func (d *asyncDocument) addChannel(name, message string, c asyncChannel) {
	c.Messages = map[string]asyncRef{message: {"#/components/messages/" + message}}
	d.Channels[name] = c
	d.Operations["publish."+name] = asyncOperation{
		Action:   "send",
		Summary:  "The bridge publishes to " + c.Address,
		Channel:  asyncRef{"#/channels/" + name},
		Messages: []asyncRef{{"#/channels/" + name + "/messages/" + message}},
	}
}

// encoded is what the CloudEvents NATS binding leaves of a header value:
// printable ASCII without space, double quote and a percent sign of its own.
const encoded = `^([!#$&-~]|%[0-9A-F]{2})+$`

// headersSchema describes the headers of every message.
func headersSchema(sources []string) map[string]any {
	var ceSources []string
	for _, s := range sources {
		ceSources = append(ceSources, "/persat/"+s)
	}
	header := func(description string, rules map[string]any) map[string]any {
		rules["description"] = description
		return rules
	}
	text := func(pattern string) map[string]any { return map[string]any{"type": "string", "pattern": pattern} }
	constant := func(value string) map[string]any { return map[string]any{"const": value} }
	return map[string]any{
		"type":     "object",
		"required": []string{"Nats-Msg-Id", "Content-Type", "ce-specversion", "ce-id", "ce-type", "ce-source", "ce-time", "ce-datacontenttype"},
		"properties": map[string]any{
			"Nats-Msg-Id":        header("The source and the delivery id; a replay adds :r and its number. JetStream knows a repeat by it, within the stream's duplicate window.", text("^("+strings.Join(sources, "|")+"):")),
			"Content-Type":       header("Of the payload.", constant("application/json")),
			"ce-specversion":     header("CloudEvents, in binary mode.", constant("1.0")),
			"ce-id":              header("The delivery id, the same for every repeat and replay of an event. Percent-encoded.", text(encoded)),
			"ce-type":            header("The event type.", text(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)),
			"ce-source":          header("The configured source, as in /webhooks/{source}.", map[string]any{"enum": ceSources}),
			"ce-time":            header("When the bridge accepted the event, in UTC. When it happened is not known.", map[string]any{"type": "string", "format": "date-time", "pattern": "Z$"}),
			"ce-subject":         header("The identity of the entity, when the event is about exactly one and its identity has at most 1 KiB. Percent-encoded.", text(encoded)),
			"ce-datacontenttype": header("As Content-Type.", constant("application/json")),
			"traceparent":        header("The W3C trace context, when there is one.", text("^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")),
			"Persat-Replay":      header("The number of the replay that this message is of; absent on the first.", text("^[1-9][0-9]*$")),
		},
	}
}

func exampleHeaders(source string, e persat.Envelope) map[string]string {
	const id = "msg_2mQkXzJvT4b7cWn9pRsYdHfLa1e"
	h := map[string]string{
		"Nats-Msg-Id":        source + ":" + id,
		"Content-Type":       "application/json",
		"ce-specversion":     "1.0",
		"ce-id":              id,
		"ce-type":            e.Type,
		"ce-source":          "/persat/" + source,
		"ce-time":            "2024-02-12T12:33:06.412871095Z",
		"ce-datacontenttype": "application/json",
	}
	if len(e.Entities) == 1 {
		h["ce-subject"] = e.Entities[0]
	}
	return h
}

// text writes the document as JSON or YAML.
func (d *asyncDocument) text(asJSON bool) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(d); err != nil {
		return nil, err
	}
	if asJSON {
		return text.Bytes(), nil
	}
	// JSON is YAML; read as nodes, the members keep their order.
	var node yaml.Node
	if err := yaml.Unmarshal(text.Bytes(), &node); err != nil {
		return nil, err
	}
	block(&node)
	text.Reset()
	e := yaml.NewEncoder(&text)
	e.SetIndent(2)
	if err := e.Encode(&node); err != nil {
		return nil, err
	}
	return text.Bytes(), e.Close()
}

// block takes the brackets and quotes of JSON out of a node.
func block(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		block(child)
	}
}
