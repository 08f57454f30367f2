package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/reason"
)

const (
	defaultLimit = 50
	maxLimit     = 1000
)

// errNoFilter: a change of everything has to be asked for in so many words.
var errNoFilter = echo.NewHTTPError(http.StatusBadRequest, "name ids or a filter, or say all=true")

// filterParameters are those of filterOf.
var filterParameters = []string{"id", "record", "source", "type", "entity", "q", "state", "reason", "group", "since", "until"}

// filterOf reads the parameters id and record (several), source, type, entity, q (any of
// these), state, reason, group (of a dead letter), since and until. The times are RFC 3339, or a duration back from
// now. Beside those only the others named are known: a filter with a slip in its name
// would else pick everything.
func filterOf(q url.Values, others ...string) (bridge.Filter, error) {
	for name := range q {
		if !slices.Contains(filterParameters, name) && !slices.Contains(others, name) {
			return bridge.Filter{}, echo.NewHTTPError(http.StatusBadRequest, fmt.Sprintf("there is no parameter %q here: there are %s", name, strings.Join(append(others, filterParameters...), ", ")))
		}
	}
	f := bridge.Filter{
		IDs: q["id"], Source: q.Get("source"), Type: q.Get("type"), Entity: q.Get("entity"),
		Any: q.Get("q"), State: journal.State(q.Get("state")), Reason: q.Get("reason"),
	}
	if group := q.Get("group"); group != "" {
		f.ReasonFits = func(text string) bool { return text != "" && reason.Group(text) == group }
	}
	switch f.State {
	case "", journal.Pending, journal.Published, journal.Dead, journal.Discarded:
	default:
		return f, echo.NewHTTPError(http.StatusBadRequest, "state is pending, published, dead or discarded")
	}
	for _, text := range q["record"] {
		number, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return f, echo.NewHTTPError(http.StatusBadRequest, "record is a number")
		}
		f.Records = append(f.Records, number)
	}
	for name, t := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		var err error
		if *t, err = ParseTime(text, time.Now()); err != nil {
			return f, echo.NewHTTPError(http.StatusBadRequest, name+": "+err.Error())
		}
	}
	return f, nil
}

// ParseTime reads a time as operators write it: RFC 3339, a day, or a duration
// back from now.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, errors.New("write it like 2026-01-31T15:04:05Z, 2026-01-31, or 90m for that long ago")
}

// recordOf reads a record number; 0 when it is not given.
func recordOf(q url.Values, name string) (uint64, error) {
	text := q.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, echo.NewHTTPError(http.StatusBadRequest, name+" is a record number")
	}
	return n, nil
}

// flagOf reads a parameter that is true or false; without a value it is false.
func flagOf(q url.Values, name string) (bool, error) {
	text := q.Get(name)
	if text == "" {
		return false, nil
	}
	set, err := strconv.ParseBool(text)
	if err != nil {
		return false, echo.NewHTTPError(http.StatusBadRequest, name+" is true or false")
	}
	return set, nil
}

func limitOf(q url.Values) (int, error) {
	text := q.Get("limit")
	if text == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, echo.NewHTTPError(http.StatusBadRequest, "limit is a number")
	}
	return min(n, maxLimit), nil
}

// listOf reads what a list is asked for: a filter, in which q may name entity: and type:,
// and how many at most.
func listOf(q url.Values, others ...string) (bridge.Filter, int, error) {
	f, err := filterOf(q, append(others, "all", "limit")...) // a list is of all without being told
	if err != nil {
		return f, 0, err
	}
	search(&f)
	limit, err := limitOf(q)
	return f, limit, err
}

// search takes entity: and type: out of the text of a search: what is behind them is to
// be found exactly, and of an entity all that follows.
func search(f *bridge.Filter) {
	words := strings.Fields(f.Any)
	f.Any = ""
	into := &f.Any
	for _, word := range words {
		if value, ok := strings.CutPrefix(word, "type:"); ok {
			f.Type, into = value, &f.Any
			continue
		}
		if value, ok := strings.CutPrefix(word, "entity:"); ok {
			word, f.Entity, into = value, "", &f.Entity
		}
		*into = strings.TrimSpace(*into + " " + word)
	}
}

// changeOf reads the filter of a change, which must not be empty by accident.
func changeOf(c echo.Context, others ...string) (bridge.Filter, error) {
	q := c.QueryParams()
	f, err := filterOf(q, append(others, "all", "limit")...)
	if err != nil {
		return f, err
	}
	all, err := flagOf(q, "all")
	if err != nil {
		return f, err
	}
	if slices.Contains(others, "missing") {
		if f.Missing, err = flagOf(q, "missing"); err != nil {
			return f, err
		}
	}
	if !all && !f.Missing && len(f.IDs)+len(f.Records) == 0 && f.Source == "" && f.Type == "" && f.Entity == "" && f.Reason == "" && f.ReasonFits == nil && f.Since.IsZero() && f.Until.IsZero() {
		return f, errNoFilter
	}
	return f, nil
}
