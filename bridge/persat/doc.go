// Package persat knows the events that Persat sends, as functions and types
// over bytes.
//
// # The promise
//
// A type that ReadEnvelope returns can stand in a NATS subject, whoever wrote
// the body. What Parse reads is written again as equal JSON: an unknown event,
// a member nobody has documented, a null and a number beyond float64 included.
// Neither panics, whatever the bytes.
//
// What it does not promise is that Persat keeps to these types. They were made
// from its public documentation, not from live deliveries. So a field whose
// member has another JSON type than expected stays zero, quietly, and the
// member is in the object's Raw (see Object). Each comment says on what it
// stands:
//
//   - Documented: read on a page of Persat's documentation.
//   - Inferred: follows from something documented, which is named or plain.
//   - Unknown: look at a real delivery before you rely on it.
//
// # Use
//
// The bridge reads envelopes: a few allocations, and the body is not built. A
// consumer of the stream parses a message's data, asks Event.Kind or Event.Type
// what it is, and takes the payload as Clients, WorkOrders, Deliveries, Routes
// or Forms, always a slice, because a bulk operation is one event. Who keeps or
// shows entities without caring what they are takes Event.Snapshots.
//
// The catalogue is one table of what is known of each event; package schema has
// JSON Schemas made from it and from the types here. Two whole consumers to start
// from are in examples.
package persat
