// Package schema has a JSON Schema (2020-12) for the body of every catalogued
// event, for consumers in other languages, for tests, and for the AsyncAPI
// document.
//
// # What they promise
//
// A schema is strict about what Persat's documentation says, and open for the
// rest. So a body that does not validate contradicts the documentation, and one
// that validates may still hold members, words and types that nobody has
// described. Members without a rule are allowed everywhere. x-confirmed says of
// each part whether it was read there or is inferred; what is inferred is
// described and enforces nothing.
//
// A consumer should not turn messages away because of a schema: nothing here was
// checked against live deliveries.
//
// # Where they come from
//
// The files in events are generated from the catalogue and the Go types of
// package persat with their comments, and checked in, so that they can be
// fetched without Go:
//
//	go test ./bridge/persat/schema -update
//
// Only keywords are used that mean the same in JSON Schema draft 07, which is
// what AsyncAPI 3 builds on.
package schema

import (
	"embed"
	"fmt"
)

//go:embed events/*.json
var events embed.FS

// Event returns the schema of the bodies of an event type of the catalogue.
func Event(eventType string) ([]byte, error) {
	text, err := events.ReadFile("events/" + eventType + ".json")
	if err != nil || eventType == anyFile {
		return nil, fmt.Errorf("no schema of event type %q", eventType)
	}
	return text, nil
}

// anyFile cannot be mistaken for an event type of the catalogue, which all have
// a dot.
const anyFile = "any"

// Any returns the schema of every body that the bridge publishes, of whatever
// event type.
func Any() []byte {
	text, err := events.ReadFile("events/" + anyFile + ".json")
	if err != nil {
		panic(err) // not reached: the file is embedded
	}
	return text
}
