package main

import (
	"fmt"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/admin"
)

// timesRead says how a time is written in a flag.
const timesRead = "2026-01-31T15:04:05Z, 2026-01-31, or 90m for that long ago"

// parseTime reads the value of a flag that is a time, for every command in the same
// way. Days are those of this host.
func parseTime(flag, text string, now time.Time) (time.Time, error) {
	t, err := admin.ParseTime(text, now)
	if err != nil {
		return t, fmt.Errorf("%s: %q is no time: %w", flag, text, err)
	}
	return t, nil
}
