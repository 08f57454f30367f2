package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/reason"
)

// The answers of the API; the rest are types of package bridge.
type (
	// StatusAnswer is the state, and what it comes to.
	StatusAnswer struct {
		bridge.Status
		Sentence Sentence `json:"sentence"`
		// RefusedRequests are as in Intake.
		RefusedRequests []RefusedRequests `json:"refused_requests"`
		// NoticeReasons are the codes of Notices, in their order.
		NoticeReasons []reason.Explanation `json:"notice_reasons"`
	}
	// EventPage is a page of events, the newest first. Before, when not 0, asks
	// for the next page: a page may be short, even empty, although there is more.
	EventPage struct {
		Events []bridge.Record `json:"events"`
		Before uint64          `json:"before,omitempty"`
		// Newest is the newest record there is: what comes later is after it.
		Newest uint64 `json:"newest"`
		// Looked is how many records this page looked at, and Reached when the oldest of
		// them was accepted.
		Looked  int        `json:"looked"`
		Reached *time.Time `json:"reached,omitempty"`
	}
	// DeadPage is the first dead letters that fit, the oldest first, and how many
	// fit in all.
	DeadPage struct {
		Total int             `json:"total"`
		Dead  []bridge.Record `json:"dead"`
		// Now is when they were looked for, by the bridge's clock: until then, for a
		// change of just these.
		Now time.Time `json:"now"`
	}
	// Changed says how many dead letters were changed, and how many were left
	// because they cannot be published.
	Changed struct {
		Changed int `json:"changed"`
		Refused int `json:"refused,omitempty"`
	}
	// ReplayAnswer is a replay that was started, or, in a dry run, only counted.
	ReplayAnswer struct {
		DryRun  bool           `json:"dry_run,omitempty"`
		Matched int            `json:"matched"`
		Replay  *bridge.Replay `json:"replay,omitempty"`
	}
	// StreamAnswer is the stream, or why it cannot be shown: that NATS is away is
	// no failure of this API.
	StreamAnswer struct {
		Stream *bridge.StreamInfo `json:"stream,omitempty"`
		Error  string             `json:"error,omitempty"`
		reason.Explanation
		// AsOf is of when Stream is, where it is from before Error.
		AsOf *time.Time `json:"as_of,omitempty"`
		// DifferenceReasons are the codes of the stream's differences, in their order, and
		// ConsumersReason is that of why its consumers cannot be listed.
		DifferenceReasons []reason.Explanation `json:"difference_reasons,omitempty"`
		ConsumersReason   *reason.Explanation  `json:"consumers_reason,omitempty"`
	}
	// LogLevel is what the log writes: debug, info, warn or error.
	LogLevel struct {
		Level string `json:"level"`
	}
)

func (s *Server) status(c echo.Context) error {
	status := explained(s.bridge.Status(c.Request().Context()))
	refused := s.refusedRequests()
	return c.JSON(http.StatusOK, StatusAnswer{status, NewSentence(status, refused, time.Local), refused, reasonsOf(status.Notices)})
}

func (s *Server) events(c echo.Context) error {
	q := c.QueryParams()
	f, limit, err := listOf(q, "before", "after")
	if err != nil {
		return err
	}
	before, err := recordOf(q, "before")
	if err != nil {
		return err
	}
	after, err := recordOf(q, "after")
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	select { // one search at a time: a second processor is for those who write
	case s.searching <- struct{}{}:
		defer func() { <-s.searching }()
	case <-ctx.Done():
		return ctx.Err()
	}
	list, err := s.bridge.Events(ctx, bridge.EventQuery{Filter: f, Before: before, After: after, Limit: limit})
	if err != nil {
		return err
	}
	explain(list.Records)
	page := EventPage{Events: list.Records, Before: list.More, Newest: list.Newest, Looked: list.Looked}
	if list.Looked > 0 {
		page.Reached = &list.Reached
	}
	return c.JSON(http.StatusOK, page)
}

func (s *Server) event(c echo.Context) error {
	record, err := strconv.ParseUint(c.Param("record"), 10, 64)
	if err != nil {
		return echo.NewHTTPError(http.StatusBadRequest, "a record is a number")
	}
	r, err := s.bridge.Event(record)
	if err != nil {
		return err
	}
	one := []bridge.Record{r}
	explain(one)
	return c.JSON(http.StatusOK, one[0])
}

func (s *Server) deadLetters(c echo.Context) error {
	q := c.QueryParams()
	f, limit, err := listOf(q, "after")
	if err != nil {
		return err
	}
	after, err := recordOf(q, "after")
	if err != nil {
		return err
	}
	now := time.Now().UTC() // first: what dies from here on has not been seen
	total, letters, err := s.bridge.DeadLetters(f, after, limit)
	if err != nil {
		return err
	}
	explain(letters)
	return c.JSON(http.StatusOK, DeadPage{total, letters, now})
}

func (s *Server) replayDead(c echo.Context) error {
	f, err := changeOf(c)
	if err != nil {
		return err
	}
	n, refused, err := s.bridge.ReplayDead(c.Request().Context(), f)
	s.logWrite(c, "dead letters replayed", zap.Int("events", n), zap.Int("refused", refused), zap.Error(err))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, Changed{n, refused})
}

func (s *Server) discardDead(c echo.Context) error {
	f, err := changeOf(c)
	if err != nil {
		return err
	}
	n, err := s.bridge.DiscardDead(c.Request().Context(), f)
	s.logWrite(c, "dead letters discarded", zap.Int("events", n), zap.Error(err))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, Changed{Changed: n})
}

func (s *Server) replayNow(c echo.Context) error {
	replay := s.bridge.ReplayNow()
	if replay == nil {
		return echo.NewHTTPError(http.StatusNotFound, "there was no replay since the bridge started")
	}
	return c.JSON(http.StatusOK, explainedReplay(replay))
}

func (s *Server) startReplay(c echo.Context) error {
	f, err := changeOf(c, "dry_run", "missing")
	if err != nil {
		return err
	}
	dry, err := flagOf(c.QueryParams(), "dry_run")
	if err != nil {
		return err
	}
	if dry {
		n, err := s.bridge.CountReplay(c.Request().Context(), f)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, ReplayAnswer{DryRun: true, Matched: n})
	}
	replay, err := s.bridge.StartReplay(c.Request().Context(), f)
	s.logWrite(c, "replay started", zap.Int("replay", replay.Number), zap.Int("events", replay.Matched), zap.Error(err))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusAccepted, ReplayAnswer{Matched: replay.Matched, Replay: explainedReplay(&replay)})
}

func (s *Server) cancelReplay(c echo.Context) error {
	s.bridge.CancelReplay()
	s.logWrite(c, "replay cancelled")
	return c.NoContent(http.StatusNoContent)
}

// knownStream is the stream as it was last seen.
type knownStream struct {
	info bridge.StreamInfo
	at   time.Time
}

// streamPatience bounds the look at the stream.
const streamPatience = 3 * time.Second

func (s *Server) stream(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), streamPatience)
	defer cancel()
	info, err := s.bridge.Stream(ctx)
	if err != nil {
		answer := StreamAnswer{Error: err.Error(), Explanation: reason.Explain(err.Error())}
		if last := s.lastStream.Load(); last != nil {
			answer.take(&last.info)
			answer.AsOf = &last.at
		}
		return c.JSON(http.StatusOK, answer)
	}
	s.lastStream.Store(&knownStream{info, time.Now().UTC()})
	var answer StreamAnswer
	answer.take(&info)
	return c.JSON(http.StatusOK, answer)
}

// take adds the stream, with the codes of its reasons.
func (a *StreamAnswer) take(info *bridge.StreamInfo) {
	a.Stream, a.DifferenceReasons = info, reasonsOf(info.Differences)
	if info.ConsumersError != "" {
		e := reason.Explain(info.ConsumersError)
		a.ConsumersReason = &e
	}
}

func (s *Server) recreateStream(c echo.Context) error {
	err := s.bridge.RecreateStream(c.Request().Context())
	s.logWrite(c, "stream may be recreated", zap.Error(err))
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// retry tries at once what waits for its next attempt.
func (s *Server) retry(c echo.Context) error {
	err := s.bridge.Retry(c.Request().Context())
	s.logWrite(c, "next attempts are made now", zap.Error(err))
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// learn answers what the newest bodies have shown: those accepted since=, limit= at most.
func (s *Server) learn(c echo.Context) error {
	q, since, limit := c.QueryParams(), time.Time{}, 0
	for name := range q {
		if name != "since" && name != "limit" {
			return echo.NewHTTPError(http.StatusBadRequest, fmt.Sprintf("there is no parameter %q here: there are since, limit", name))
		}
	}
	var err error
	if text := q.Get("since"); text != "" {
		if since, err = ParseTime(text, time.Now()); err != nil {
			return echo.NewHTTPError(http.StatusBadRequest, "since: "+err.Error())
		}
	}
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 {
			return echo.NewHTTPError(http.StatusBadRequest, "limit is a number from 1 on")
		}
	}
	lessons, err := s.o.Learn(c.Request().Context(), since, limit)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, lessons)
}

// pastHour answers the last hour as this process has seen it, of which after= leaves out
// what the caller has; with range=, the history of that, from the journal too.
func (s *Server) pastHour(c echo.Context) error {
	for name := range c.QueryParams() {
		if name != "after" && name != "range" {
			return echo.NewHTTPError(http.StatusBadRequest, fmt.Sprintf("there is no parameter %q here: there are after, range", name))
		}
	}
	if name := c.QueryParam("range"); name != "" {
		r, known := ranges[name]
		if !known {
			return echo.NewHTTPError(http.StatusBadRequest, "range is 15m, 1h, 24h or 72h")
		}
		past := s.history.minutes.get(r, time.Now())
		past.Started = s.history.started
		return c.JSON(http.StatusOK, past)
	}
	var after time.Time
	if text := c.QueryParam("after"); text != "" {
		var err error
		if after, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return echo.NewHTTPError(http.StatusBadRequest, "after is the time of a sample")
		}
	}
	h := s.history.get(after)
	h.Version = s.o.Version
	return c.JSON(http.StatusOK, h)
}

func (s *Server) logLevel(c echo.Context) error {
	return c.JSON(http.StatusOK, LogLevel{s.o.Level.String()})
}

func (s *Server) setLogLevel(c echo.Context) error {
	var wanted LogLevel
	if err := json.NewDecoder(http.MaxBytesReader(c.Response(), c.Request().Body, 1024)).Decode(&wanted); err != nil {
		return echo.NewHTTPError(http.StatusBadRequest, `send {"level":"debug"}`)
	}
	level, err := zapcore.ParseLevel(wanted.Level)
	if err != nil || level > zapcore.ErrorLevel {
		return echo.NewHTTPError(http.StatusBadRequest, "level is debug, info, warn or error")
	}
	// At the higher of the two levels, and so in the log whichever way it goes.
	before := s.o.Level.Level()
	s.o.Level.SetLevel(level)
	s.o.Log.Log(min(max(before, level, zapcore.InfoLevel), zapcore.ErrorLevel), "admin: log level changed",
		zap.Stringer("before", before), zap.Stringer("now", level), zap.String("from", c.Request().RemoteAddr))
	return s.logLevel(c)
}

// logWrite says who changed what.
func (s *Server) logWrite(c echo.Context, what string, fields ...zap.Field) {
	s.o.Log.Info("admin: "+what, append(fields, zap.String("from", c.Request().RemoteAddr), zap.String("filter", c.QueryString()))...)
}
