// Package bridge is the core of persat-bridge: it takes events from a sender
// that repeats itself and hands them to JetStream, and it loses none in between.
//
// # The promise
//
// When Accept returns without an error, the event is on this disk, fsynced. It
// will be in the JetStream stream, byte for byte, after the events of the same
// entity that were accepted before it, and once within the stream's duplicate
// window, however often the sender repeats it, the bridge is killed, or NATS is
// away. The exception is an event that NATS refuses for itself: it becomes a dead
// letter, which an operator is shown and can publish later.
//
// What can still go wrong:
//
//   - The bridge's own disk dies. Events that JetStream has not acknowledged
//     are gone with it. The sender believes them delivered: send them again by
//     hand from its portal.
//   - JetStream has stored an event and the bridge does not hear of it (the process
//     dies, the answer is lost) until after the stream's duplicate window, two hours by
//     default. Those few events, what was in flight then and, after a power failure of
//     this host, what was acknowledged in the last second, are stored twice, under the
//     same Nats-Msg-Id.
//   - The stream forgets what it had acknowledged, and the journal has it no more: it
//     was published longer ago than journal.retention says, or given up for space. As long
//     as its record is there the loss is counted and reported, and its id is free for
//     the sender to send it again; after the dedup window nobody here knows of it.
//
// # The life of an event
//
//	sender ──POST──▶ webhook ──▶ Accept ──▶ journal (event + seen id, one synced commit) ──▶ 2xx
//	                                           │
//	                        Run ◀── next ──────┘
//	                         │  Session.Publish (one attempt) ──▶ JetStream ──ack──▶ done ──▶ journal: published at its sequence
//	                         └─ rejected for itself ──▶ journal: dead letter
//
// The journal is the queue. No channel carries events from Accept to Run, only
// a wake-up; so there is nothing between the two that a crash could lose.
//
// # Order
//
// An event names the entities that it is about. Events of one entity, which is a source,
// a kind (Event.Kind, or the event type up to its first dot) and an id, are published in the order of
// acceptance, never two in flight but in one atomic batch; all others overtake each other freely. An event of
// several entities waits for all of them, and all of them wait for it. An event without
// an entity is ordered among the events of its source and type that have none either.
// Package schedule decides that and nothing else; its simulation proves it.
//
// # Who owns what
//
//	loop.go      the session's phase, the scheduler, the replay, the cursor: one goroutine
//	sender.go    begins attempts, in a goroutine of its own
//	pace.go      whether a backlog goes in atomic batches or one by one; window.go how many at once
//	complete.go  from an acknowledgement to the publish mark, step by step. Only the loop writes
//	             publish marks and takes them back: here, and in loss.go
//	link.go      connects; verify.go and confirm.go ask the stream (package integrity). Each
//	             sends the loop one answer
//	loss.go      repairs what a verdict of integrity says, in the loop
//	status.go    the view that the loop publishes, for everybody else
//
// The loop waits for the disk and never for NATS, and nobody waits for the loop but who
// changes something: Status, Ready and the metrics read what was published last. What
// others ask of the loop are commands, values with a type each. Locks remain where two
// goroutines share a count or a text (backlog, notices, link, disk). Two are held across
// I/O, and never by who reads the view: one lets operators change dead letters one after
// the other, the other lets one question at a time read the ledger (ledger.go).
//
// # Batches
//
// A server that syncs each message stores a few hundred or thousand a second, whatever is
// in flight; an atomic batch it syncs as one. So a backlog goes in batches where the stream
// takes them and they get more through (pace.go). A batch decides nothing but success: when it
// is refused, or not answered, each of its events goes alone and gets its own answer, and what
// the batch has stored all the same is a repeat there. An event that was in flight before goes
// alone, because one that is stored refuses a whole batch.
//
// # A stream that forgets
//
// JetStream acknowledges before it syncs unless it is told otherwise, so a host that
// lost power may have forgotten events. Every session begins by comparing the newest
// acknowledged stream sequences with what the stream has, and sends again what is missing
// before anything new. A server behind another one can forget without a session ending:
// while a session lasts the stream is asked again and again (confirm.go). Package
// integrity decides what was lost, and nothing else.
//
// # Failure
//
// A publisher says of each failed attempt what kind of failure it was (Class),
// and Run does one thing for each kind. What an operator can repair without
// touching the event waits, for ever if need be; a dead letter is an event that was
// refused for itself (its size, its headers), or that failed max_attempts times for no
// known reason. An outage of any length makes none.
//
// A failure of the kind Held holds the event's subject, not only its entity. All that
// makes an event "held" (no stream, a denied permission, a full stream) lies with the
// subject or the stream, and a denied permission shows only as an attempt that times out:
// if every entity tried for itself, a thousand of them would fill the window with attempts
// that wait for nothing, and starve the subjects that work. So one event of a held subject
// probes (schedule/subject.go), after waits that publish.backoff gives (newLoop), the others
// wait behind it, and the first that is stored releases the subject.
//
// # The end of a session
//
// A session ends when its connection goes, or when the loop gives it up because the stream
// does not answer or is another one (loop.go, lose). From then on nothing is sent. The
// attempts in flight end, each with its own result, and a task whose attempt ended with the
// connection lines up again in its old place, without a pause and without counting the attempt
// (complete.go, decide). When nothing is in flight the session is closed and the next one
// opened. That begins with verifying the stream; when it repairs something, all tasks are
// forgotten and read again from the journal (loss.go, heal).
//
// # Words
//
//	record        an event in the journal; its number is its sequence, the order of acceptance
//	task          a record that the scheduler knows; an attempt sends it once
//	ordering key  what two tasks share that may not overtake each other: a source, kind and id;
//	              of an event without an id, a source and event type
//	subject       a source and an event type; held while none of its events can be stored
//	stream sequence  where JetStream has stored an event, as its acknowledgement says
//	mark          the note in the journal that an event is published, at a stream sequence; it is
//	              synced with the next event, or within a second
//	session       one connection to NATS, from its opening to its end; it never reconnects
//	verify, confirm  compare the stream with the journal: for a session, for one sequence
//	dead letter   an event that is not tried again until an operator replays it, or discards it
//	batch         several events that JetStream stores as a whole or not at all
//	window        of attempts in flight (MaxInFlight); the stream's duplicate window and the journal's
//	              dedup window are always called so
//	replay        published events sent once more, under message ids of their own
package bridge
