package main

import (
	"database/sql"
	_ "embed"
	"fmt"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// postgresLedger is a ledger in PostgreSQL, beside the tables of the service. Two
// processes may have one: the second to insert an id waits for the first.
type postgresLedger struct{ db *sql.DB }

var _ ledger = (*postgresLedger)(nil)

//go:embed tables.sql
var tables string

// tablesLock is an advisory lock of this consumer alone: two processes that make the
// tables at once would see each other's half.
const tablesLock = 0x7065727361 // "persa"

// openPostgres connects to a database and makes the tables when they are missing.
func openPostgres(database string) (*postgresLedger, error) {
	db, err := sql.Open("pgx", database)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	l := &postgresLedger{db}
	err = l.transaction(func(tx *sql.Tx) error {
		if _, err := tx.Exec(`SELECT pg_advisory_xact_lock($1)`, tablesLock); err != nil {
			return err
		}
		_, err := tx.Exec(tables)
		return err
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("make tables: %w", err)
	}
	return l, nil
}

func (l *postgresLedger) close() error { return l.db.Close() }

// transaction commits what f has done, or nothing.
func (l *postgresLedger) transaction(f func(*sql.Tx) error) error {
	tx, err := l.db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// record inserts the id and does the work in one transaction; an id that is there
// already has had its work. A commit whose answer gets lost is an error: the event
// comes again, and its id tells whether it was committed.
func (l *postgresLedger) record(id string, event *persat.Event, sequence uint64) (fresh bool, err error) {
	err = l.transaction(func(tx *sql.Tx) error {
		result, err := tx.Exec(`INSERT INTO persat_seen (id) VALUES ($1) ON CONFLICT DO NOTHING`, id)
		if err != nil {
			return fmt.Errorf("insert id: %w", err)
		}
		inserted, err := result.RowsAffected()
		if err != nil {
			return fmt.Errorf("insert id: %w", err)
		}
		if fresh = inserted == 1; !fresh {
			return nil
		}
		for _, s := range event.Snapshots() {
			_, err := tx.Exec(`INSERT INTO persat_history (kind, entity, event, type, state, sequence) VALUES ($1, $2, $3, $4, $5, $6)`,
				string(event.Kind), persat.SubjectToken([]string{s.Entity}), id, event.Type, sqlText(s.State), int64(sequence))
			if err != nil {
				return fmt.Errorf("insert into history: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("record event: %w", err)
	}
	return fresh, nil
}

// sqlText is text that PostgreSQL takes: it has no zero byte, which JSON can hold.
func sqlText(s string) string { return strings.ReplaceAll(s, "\x00", "\uFFFD") }

func (l *postgresLedger) putAside(sequence uint64, data []byte, reason string) error {
	_, err := l.db.Exec(`INSERT INTO persat_aside (sequence, reason, data) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		int64(sequence), strings.ToValidUTF8(sqlText(reason), "\uFFFD"), data)
	if err != nil {
		return fmt.Errorf("put message aside: %w", err)
	}
	return nil
}

func (l *postgresLedger) forget(before time.Time) error {
	if _, err := l.db.Exec(`DELETE FROM persat_seen WHERE at < $1`, before); err != nil {
		return fmt.Errorf("forget ids: %w", err)
	}
	return nil
}
