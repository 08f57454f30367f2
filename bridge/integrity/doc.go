// Package integrity answers one question: does the stream still have what it
// acknowledged?
//
// JetStream acknowledges a message before it has synced it, by default up to two minutes
// before. A server that loses power can come back in several ways: without its tail and
// with the lost sequences given to other messages; without its tail and with its last
// sequence, because the index was on disk and the block was not; with a hole in the middle;
// or without the stream. An operator's deletion, a limit and a consumer take messages away
// too, and those must stay away. So a missing message is no evidence by itself. The
// evidence is, in this order:
//
//   - Another message at a sequence that JetStream gave to an event of ours, or a last
//     sequence of the stream that is lower than one it gave us: the stream was rolled back. Nothing else does that.
//   - The server process that has the stream is the one that had it when it was last
//     observed: whatever is missing was taken away on purpose, because a running process
//     loses nothing. Where the process cannot be named, observations that are seconds
//     apart say the same: no host loses power and is back in between.
//   - The stream's limits, and its retention, which explain what is missing by themselves.
//   - A hole that reaches the end of what was observed minutes ago at most: nobody deletes
//     by hand in the moments in which a server restarts.
//   - The shape of a hole. A purge takes the first messages of a subject, so an earlier
//     message of the same subject that is still there rules it out; an erasure takes what
//     there is of an entity; a lost block takes whatever lies in it.
//
// Where none of that decides, the verdict says so, and an operator decides.
//
// Verify, Confirm and Observe depend on two interfaces, on the time that they are given and
// on their arguments, and on nothing else: the package has no goroutine, lock, clock, log or
// I/O of its own. Verify makes one pass: no retry, no log, no write. Confirmed remembers
// between the passes of one verification what was found, so that a pass that timed out need
// not start over. Monitor says when to ask the stream while a session lasts. Both are the
// caller's state.
package integrity
