// Package admin is the operators' HTTP: health, metrics and state, on a listener
// of its own that is meant for loopback or a private network.
//
// The page's files, /livez, /readyz (also /healthz) and /metrics are open to everyone
// who reaches the listener: they tell numbers, and why no events are taken. The API and
// /debug/pprof show or change events or memory and ask for the token when there is one.
// Off loopback there has to be one, or the listener does not start; without one they
// answer only to localhost and addresses as host name. A request that changes something and
// comes from a page of another origin is refused, so that a page somewhere
// cannot use the browser of an operator who has access.
//
// /livez says that the process works; nothing that a restart would not mend
// makes it fail. /readyz says that events can be taken: the journal writable
// and below its limit, the bridge not draining. NATS is no part of it: without
// it events are safe, and a bridge that were taken out of service for that
// would refuse them.
package admin
