// Package publisher hands events to NATS JetStream, one attempt a call, and says
// of every attempt that failed what kind of failure it was.
//
// # The promise
//
// Publish does not wait; it tells of the end of the attempt once, and of success only
// when JetStream has acknowledged the message for the configured stream, or says that it
// has it already and the stored message, where it may be read, has the same bytes. It
// never retries: that is the caller's, in one place. It forwards nothing of a stranger's
// request but the body, the delivery id and a well-formed traceparent; a header such as
// Nats-Rollup in a message can empty a stream, so the headers are only our own (message.go).
//
// # One connection is one session
//
// nats.go can reconnect by itself, for ever, and keep what is published
// meanwhile. Here a session ends with its connection and the next one is
// opened by the caller. Two reasons. What is sent after an outage must wait until
// the stream has been looked at, for a NATS host that lost power may have
// forgotten messages that it had acknowledged; with a connection that comes back
// behind one's back there is always a moment in which something slips through
// before. And a connection that nats.go has closed for good (it does that after
// some errors) is then nothing special. The price is that servers which the
// cluster announces are not remembered: name several in nats.url, or a DNS name
// that has them all.
//
// # Failure
//
// One table (failure.go) maps what nats.go and the server say to a class, by the
// server's error code. What it does not know is bridge.Unknown. A denied
// permission does not come back as an answer at all: the attempt times out,
// and the connection's error handler hears of it; the session puts the two
// together, so that the reason says "permission" and not "timeout".
//
// # Batches
//
// PublishBatch stores several events as a whole or not at all (batch.go). It tells of
// success, with the sequence of each event, or that nothing is decided.
//
// # The embedded server
//
// Embedded runs a nats-server in this process, for those who have no NATS
// yet. Its store has no lock of its own, and two servers on one directory
// lose messages, so Embedded locks it.
//
// A stream that could not be written is frozen until its server is started again, and
// JetStream's own limit is fixed at the start. So the bridge publishes only while the
// disk has more free than a tenth, or 2 GiB (room): twice what the journal keeps, which
// then still takes events. If the disk fills all the same, a new server is started when
// there is room (recover.go).
//
// In the program the server syncs each message (SyncAlways): it is on the journal's host
// and loses power with it. The journal would heal its stream, but a consumer that has
// acknowledged what the stream has lost would pass over what takes those places. It costs
// one fsync a message: measured on a disk that syncs in 1.2 ms, 850 events a second in
// place of 3,500 and more. The journal takes the rest, and the stream follows, in atomic
// batches (batch.go) that the server syncs as one.
//
// Dependencies: nats.go and nats-server because the product is about them;
// jsm.go's natscontext to read the contexts of the nats CLI as it does;
// gofrs/flock for the lock on the store.
package publisher
