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
// described and enforces nothing. x-unit is the unit of a number.
//
// A consumer should not turn messages away because of a schema: nothing here was
// checked against live deliveries.
//
// # Where they come from
//
// persat.json is the bundle: it validates every body by its event type, and has
// each event and each object once, in $defs. The files in events refer to it, one
// for each event type, and any.json for every type.
//
// They are generated from the catalogue, the Go types of package persat with their
// comments, and the samples, as are the types for TypeScript and Python in the
// directory clients. They are checked in, so that they can be fetched without Go:
//
//	go test ./bridge/persat/schema -update
//
// Only keywords are used that mean the same in JSON Schema draft 07, which is
// what AsyncAPI 3 builds on.
package schema

import (
	_ "embed"
	"slices"
)

//go:embed persat.json
var bundle []byte

// Bundle returns the bundle. Its $defs have each event under its event type, each
// object under its name, and the envelope of every body under "any".
func Bundle() []byte { return slices.Clone(bundle) }
