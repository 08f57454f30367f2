// Package journal keeps accepted events on disk until JetStream has them, and
// for a while longer.
//
// # The promise
//
// When Append returns without an error, the record and its key are on disk:
// both in one batch of the write-ahead log, which has been fsynced. A record is
// pending until it is marked published or dead; it is never both, and no crash
// leaves it neither. Sequences rise in the order of the appends and never come
// again, not after a drain and not after a restart.
//
// The marks that follow (MarkPublished, MarkDead) are written at once but
// synced with the next append or the next Sync. A mark that a power failure
// takes back makes the record pending again; it is never lost by that, only
// published once more under the same message id.
//
// # Layout
//
// One ordered key space, the state of a record in the first byte of its key:
//
//	b <seq>   body
//	q <seq>   pending:   key, header
//	p <seq>   published: key, header, where in the stream and when; or discarded
//	d <seq>   dead:      key, header, why and when
//	s <key>   seen: the record's sequence, its time, a digest of its body
//	t <seq>   the published record that has this sequence in the stream
//	m <name>  meta: the format version, the next sequence, how far was trimmed, the
//	          number of replays, the stream, what it has lost, misses or will never have, the alerts
//
// A record's header lies under exactly one of q, p and d, and moves from one to
// another in one batch. So a restart finds the queue by reading the short q keys
// and no body, and a record has no state that two places could disagree about.
//
// The t keys are how healing finds, in the order of the stream, what the stream
// should have. They speak of one stream; when that is made anew they are dropped.
//
// Every value under q, p, d and s begins with a version byte and a checksum. A journal
// of a later format is refused with a clear error rather than read wrongly; testdata/golden holds a journal of
// each format that ever was, and a test opens them all.
//
// # Why Pebble
//
// It is a write-ahead log with checksums and a group commit, an ordered index
// that need not fit in memory, and a locked directory, kept by people whose
// databases stand on it. Measured at 2 KB records and 1 to 256 writers it does
// 0.75 to 0.96 of the durable appends of a log written by hand for this; bbolt
// does 0.4, SQLite 0.2 to 0.4, an embedded JetStream that syncs 0.01 to 0.04.
//
// Four things make it fit. Nearly every key looked up is new, and to be sure of that
// the store looks into each of its tables: a Bloom filter in memory (keyfilter.go, by
// bits-and-blooms/bloom) answers instead. Bodies have tables of their own, which are
// moved and not merged. Batches are made while the ones before are being synced. And tables
// are read and written by 64 KiB (buffered.go), where the store has a system call for each
// block, while keys of a kind stand together in a batch, where the store finds their places
// sooner. The first three halved the processor time of an append, the last took a fifth off
// that of draining a backlog. Keeping bodies in separate
// files (Pebble's value separation) gained nothing more once marks are written too.
//
// # When the disk fails, is full, or is taken away
//
// A failed write or sync is never retried: after it nobody knows which pages
// the disk holds, and a second fsync that succeeds proves nothing. The journal
// is then failed for good: every waiting and every later Append returns
// ErrFailed, Failed is closed, and the process has to end and open it anew. That holds
// for the logs, the manifest and the directory; what the store would do with such an
// error, which is to panic, never happens (failStopFS).
//
// A table is written from what the log has, so it may fail and be written again: on a
// full disk every five seconds, and no tables are merged meanwhile (compactions). Appends
// go on as long as the log has room. Closing needs none, and opening ends with an error
// where the tables of the last process cannot be written.
//
// Files that are open take writes and syncs when their names are gone, too. So directory,
// lock and newest log are compared with the ones that were opened, after each sync, before
// anybody is answered or can read what was synced, and with every Sync (presence).
package journal
