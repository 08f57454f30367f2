// Package webhook is the public listener of persat-bridge: it takes the requests of
// a sender, and is the one place that answers 2xx.
//
// # The promise
//
// A 2xx is written after Acceptor.Accept has returned without an error, and
// never otherwise: not while starting, draining or failing, not after a panic.
// Every other answer asks the sender to come back. So an event can be asked for
// too often, but not be lost between the sender and the journal.
//
// What can still happen: the sender gives up waiting (15 s) or the connection
// breaks after Accept and before the answer. The event is kept, the sender does
// not know, comes back with the same delivery id, and hears "duplicate". Without a
// delivery id in the headers (usual with auth basic, header and none) that repeat is a
// second event.
//
// # The answers
//
// Every answer to a well-formed request with headers under 32 KiB is JSON,
// {"status":…,"id":…} or {"error":…}. In the order in which a request meets them:
//
//	503  draining: before any routing, so that nobody hears 404 from a bridge that stops
//	404  unknown path or source; a path matches exactly or with one slash behind it,
//	     nothing redirects
//	405  another method than POST
//	403  the address is not in the source's allow_cidrs
//	413  body too large, declared or counted while it arrives
//	503  its place was needed while it was being sent, or too much memory held by large bodies
//	400  the body ended early
//	400  signature headers missing or malformed
//	415  the body is compressed, and the signature is of other bytes
//	401  signature wrong, credentials wrong or missing, or the timestamp outside the tolerance
//	429  over the source's rate limit
//	503  too many requests in Accept
//	503  Accept did not take it; also a panic, because 500 would tell the sender no more
//	202  accepted, or quarantined as a dead letter
//	200  duplicate
//
// Every refusal reaches its sender, also one that is given before the body is read:
// the body is read and thrown away first (discard.go).
//
// 403 has no row in the sender's contract; the sender retries it like the others.
// Never 410 and never a webhook-delivery header: to a Svix sender these mean "stop
// for ever", and no state of this host justifies that.
//
// # The signature
//
// The check of the Standard Webhooks signature is this package's own,
// over crypto/hmac (signature.go). The svix and standard-webhooks
// libraries fix the tolerance at five minutes, know one secret at a time, read
// the first of a repeated header, and tell a stale request from a forged one by
// looking at the clock first. Here the tolerance is configurable, all secrets of
// a rotation are tried, a header that was split, joined or doubled on the way is read as one, and only a request
// that is signed well can be stale: so a wrong clock is never mistaken for a
// wrong secret. The tests hold it against both libraries, in both directions.
//
// The signature covers the bytes as they arrived. Nothing is decompressed, because a
// stranger's few kilobytes could become megabytes. A compressed body that was signed
// after it was packed is authentic but not JSON, and is quarantined; one that was packed
// on the way is refused with a 415, which tells the sender what a 401 would hide.
//
// # What a stranger can hold
//
// Nothing that a delivery needs. Three things are bounded apart, each so that the next
// one gets in and the one that has used its place least well goes:
//
//   - Connections (connections.go), by the open files that the process may have.
//   - Requests whose bodies are being read (reading.go), fewer than 32 of one HTTP/2
//     connection. When all places are taken, the oldest of the network with the most
//     goes. One that brings no byte for five seconds goes anyway.
//   - Memory: bodies are read into buffers that grow with what has arrived and not with
//     what was announced, and large ones share a bounded amount.
//
// The slots of server.max_in_flight and a source's rate are for authentic requests. A
// limit that is met for seconds is reported (overload.go).
package webhook
