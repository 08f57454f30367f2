package main

import (
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// ledger is where the effects are, and the ids of the events that had them: in
// PostgreSQL or, without a server, in a directory.
type ledger interface {
	// record gives an event its effect, unless it has had it: then fresh is false.
	// The effect and the id are durable together when record returns, or neither is.
	record(id string, event *persat.Event, sequence uint64) (fresh bool, err error)
	// putAside keeps a message that cannot be handled. Put aside again, it is kept
	// once.
	putAside(sequence uint64, data []byte, reason string) error
	// forget drops the ids that were seen before a time.
	forget(before time.Time) error
	close() error
}

// openLedger opens the ledger in a PostgreSQL database or, when that is empty, in a
// directory.
func openLedger(database, dir string) (ledger, error) {
	if database != "" {
		return openPostgres(database)
	}
	return openPebble(dir)
}
