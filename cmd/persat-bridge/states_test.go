package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/admin"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

var screens = flag.String("screens", "", "directory to leave pictures in of each state of the page, in both languages and themes and two sizes")

// staged is a bridge whose status the test changes.
type staged struct {
	*bridge.Bridge
	mu     sync.Mutex
	change func(*bridge.Status)
}

func (s *staged) Status(ctx context.Context) bridge.Status {
	status := s.Bridge.Status(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change(&status)
	return status
}

func (s *staged) set(change func(*bridge.Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change = change
}

// startStaged starts a bridge with an embedded NATS, whose admin listener shows staged.
func startStaged(t *testing.T) (a *app, s *staged) {
	t.Helper()
	level := zap.NewAtomicLevel()
	a, err := newApp(t.Context(), demoConfig(t.TempDir(), testSecret), zap.NewNop(), &level)
	if err != nil {
		t.Fatal(err)
	}
	s = &staged{Bridge: a.bridge, change: func(*bridge.Status) {}}
	a.admin, err = admin.New(admin.Options{
		Listen: a.cfg.Admin.Listen, Version: "test", Gatherer: a.registry, Level: &level, Endpoints: a.endpoints(), Refused: a.refused,
		Learn: func(ctx context.Context, since time.Time, limit int) (any, error) {
			lessons, err := learnJournal(ctx, a.journal, since, limit)
			return explainLessons(lessons), err
		},
	}, s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	end := ended(func() error { return a.run(ctx) })
	t.Cleanup(func() {
		stop()
		if err := <-end; err != nil {
			t.Error(err)
		}
	})
	return a, s
}

// TestStates: in each state 'status --json' has the same level as the page, and the exit
// code that belongs to it.
func TestStates(t *testing.T) {
	if *screens == "" {
		t.Parallel()
	}
	a, s := startStaged(t)
	url := "http://" + a.operators.Addr().String()
	environ := []string{"PERSAT_BRIDGE_ADMIN_LISTEN=" + a.operators.Addr().String()}
	p := newBrowser(t)
	pictures := &pictures{browser: p, url: url}
	ago := func(d time.Duration) *time.Time { at := time.Now().Add(-d).UTC(); return &at }
	now := func(d time.Duration) *time.Time { return ago(-d) }

	if response, err := http.Post(a.webhookURL("persat"), "application/json", strings.NewReader("{}")); err != nil || response.Body.Close() != nil {
		t.Fatal(err)
	}
	p.open(url)
	p.waitFor("the first day", `$('#sentence') === 'Ready; no event has arrived yet, 1 request was refused' && $('#first-panel').includes('/webhooks/persat') && $('#refused').includes('missing_signature')`)
	pictures.take("01 first day")

	sender := newSender(a.webhookURL("persat"), testSecret, 4)
	defer sender.close()
	post := func(id, body string) {
		t.Helper()
		if a, err := sender.post(t.Context(), id, []byte(body)); err != nil || !a.ok() {
			t.Fatalf("post %s: %d %s %v", id, a.code, a.Error, err)
		}
	}
	for _, eventType := range persat.Types() {
		for i := range 3 {
			body, err := persat.Sample(eventType, fmt.Sprint(4000+i))
			if err != nil {
				t.Fatal(err)
			}
			post(newDeliveryID(), string(body))
		}
	}
	testwait.Eventually(t, "all is published", func() bool { return a.bridge.Status(t.Context()).Pending == 0 })

	const full = "the stream refuses it: it is at a limit and discards new messages, or cannot store: make room in it or raise its limits: nats: maximum messages exceeded"
	held := func(s *bridge.Status) {
		s.Pending, s.Refused, s.Queued = 720, 60, 660
		s.Sources[0].Pending, s.Sources[0].OldestPending = 720, ago(26*time.Minute)
		s.LastPublished = ago(26 * time.Minute)
		s.Held = []bridge.HeldSubject{
			{Source: "persat", Type: "workorder.closed", Reason: full, Since: *ago(26 * time.Minute), Waiting: 40, NextAttempt: now(12 * time.Second)},
			{Source: "persat", Type: "deliveryRoute.assigned", Reason: full, Since: *ago(20 * time.Minute), Waiting: 15, NextAttempt: now(20 * time.Second)},
			{Source: "persat", Type: "client.updated", Reason: "stream PERSAT does not have subject persat.client.updated: add persat.> to its subjects", Since: *ago(3 * time.Minute), Waiting: 5, NextAttempt: now(25 * time.Second)},
		}
	}
	away := func(s *bridge.Status) {
		s.NATS = bridge.Link{Since: *ago(95 * time.Minute), Attempts: 190, Reason: "connect to NATS at nats://nats-a:4222,nats://nats-b:4222: nats-a:4222: connection refused; nats-b:4222: no answer within 2s", Next: now(17 * time.Second)}
		s.Pending, s.Sources[0].Pending, s.Sources[0].OldestPending = 12840, 12840, ago(95*time.Minute)
	}
	for _, c := range []struct {
		name   string
		change func(*bridge.Status)
		level  admin.Level
		code   int
		shows  string // in the sentence
	}{
		{"02 all is well", func(*bridge.Status) {}, admin.Good, 0, "nothing waiting"},
		{"03 connecting", func(s *bridge.Status) { s.NATS = bridge.Link{} }, admin.Warn, 1, "connecting to NATS"},
		{"04 events wait a moment", func(s *bridge.Status) {
			s.Pending, s.LastPublished, s.Sources[0].OldestPending = 3, ago(8*time.Second), ago(8*time.Second)
		}, admin.Good, 0, "3 events waiting the oldest for"},
		{"05 attempts fail", func(s *bridge.Status) {
			s.Pending, s.LastPublished, s.Sources[0].OldestPending = 1, ago(time.Minute), ago(9*time.Second)
			s.LastFailure = &bridge.FailedAttempt{At: *ago(time.Second), Class: "unknown", Reason: "JetStream refuses it: nats: API error: code=500 err_code=10077 description=odd"}
		}, admin.Warn, 1, "1 event waiting"},
		{"06 behind", func(s *bridge.Status) {
			s.Pending, s.LastPublished, s.Sources[0].OldestPending = 48211, ago(time.Second), ago(4*time.Minute)
		}, admin.Warn, 1, "48211 events waiting, the oldest"},
		{"07 refused", held, admin.Warn, 1, "720 events waiting: 60 refused"},
		{"08 NATS away", away, admin.Warn, 1, "NATS away since"},
		{"09 stream missing", func(s *bridge.Status) {
			s.StreamMissing = true
			s.Notices = append(s.Notices, "the server does not find stream PERSAT, though events were published to it: new events wait here. Look whether the server can read its store (JetStream key, limits, disk), mend that and restart it. When the stream is gone for good: persat-bridge stream recreate")
		}, admin.Warn, 1, "; the stream is missing"},
		{"10 the journal fills", func(s *bridge.Status) {
			room := 5.0 * 3600
			s.JournalBytes, s.JournalRoom = uint64(s.JournalLimit/100*83+1000), &room
			s.Pending, s.LastPublished, s.Sources[0].OldestPending = 48211, ago(time.Second), ago(4*time.Minute)
		}, admin.Warn, 1, "the journal is 83 % full room for 5 h"},
		{"10 the journal is large", func(s *bridge.Status) {
			room := 5.0 * 3600
			s.JournalBytes, s.JournalRoom = uint64(s.JournalLimit/100*83+1000), &room
		}, admin.Good, 0, "the journal is 83 % full"},
		{"11 not accepting", func(s *bridge.Status) {
			away(s)
			s.Accepting, s.Refusing = false, "journal is full: 10 GiB of journal.max_bytes 10 GiB used: repair what keeps events from being published, or raise journal.max_bytes and restart"
			s.JournalBytes = uint64(s.JournalLimit)
		}, admin.Bad, 2, "Not accepting events"},
		{"12 not accepting without NATS", func(s *bridge.Status) {
			away(s)
			s.Accepting, s.Refusing = false, "NATS is away, and with accept.wait_for: stream, a sender gets its 2xx only when NATS has the event; until then the event is only written to this disk"
		}, admin.Bad, 2, "Not accepting events"},
		{"13 lost by the stream", func(s *bridge.Status) {
			s.Gone = 12
			s.Notices = append(s.Notices,
				"the stream has lost 12 events whose content the journal no longer keeps (journal.retention, journal.max_bytes), the last on 2026-11-26T10:00:00Z: only the sender still has it; ask for it again",
				"the stream was recreated; it lacks what was published before. To fill it: persat-bridge replay --since 2026-11-20T10:00:00Z --until 2026-11-26T10:00:00Z",
				"source persat has not been pulled since 2026-11-26T10:00:00Z: the polling endpoint refuses the token (401): copy the endpoint's key whole from the sender's portal into pull.token",
				"the certificate of server.tls expires on 2026-12-01T10:00:00Z: renew it; the bridge reads the new one by itself",
				"alerts cannot be delivered by alerts.urls[0] (slack) since 2026-11-26T10:00:00Z: no answer within 30s")
		}, admin.Bad, 1, "; the stream has lost 12 events"},
		{"14 a replay failed", func(s *bridge.Status) {
			s.Replay = &bridge.Replay{Number: 3, Started: *ago(time.Hour), Ended: ago(time.Minute), Matched: 52, Published: 40, Failed: 10, Skipped: 2, Reason: "larger than the NATS server's max_payload: raise the limit, then replay: nats: maximum payload exceeded"}
		}, admin.Good, 0, "nothing waiting"},
	} {
		s.set(c.change)
		if c.name == "03 connecting" {
			p.open(url)
		}
		p.waitFor(c.name, fmt.Sprintf(`document.querySelector('#state').dataset.level === '%s' && $('#sentence').replaceAll(',', '').replaceAll('\u00a0', ' ').includes('%s')`, c.level, strings.ReplaceAll(c.shows, ",", "")))
		var out, errs strings.Builder
		code := run(t.Context(), []string{"status", "--json"}, environ, strings.NewReader(""), &out, &errs)
		var answer admin.StatusAnswer
		if err := json.Unmarshal([]byte(out.String()), &answer); err != nil || answer.Sentence.Level != c.level || code != c.code {
			t.Errorf("%s: status --json says %q with exit code %d (%v, %s), want %q and %d", c.name, answer.Sentence.Level, code, err, errs.String(), c.level, c.code)
		}
		// The page gets through all of it, and does not take a slip of its own for a bridge
		// that is lost: it did while the first connection was made.
		p.waitFor("all of the page", `document.querySelector('#lost').hidden && document.querySelectorAll('#tiles > div').length === 6`)
		if strings.HasPrefix(c.name, "13") { // times and durations are the page's
			p.waitFor("the notices", `/the last (on \w+ \d+ )?at \d\d:\d\d:/.test($('#notices')) && /expires (on \w+ \d+ )?at \d\d:\d\d:/.test($('#notices')) && /no answer within 30\ss/.test($('#notices'))`)
		}
		// Room is told where events wait: elsewhere published ones make it.
		if strings.HasPrefix(c.name, "10") {
			p.waitFor("the room", fmt.Sprintf(`$('#tiles').includes('room for') === %v`, c.level == admin.Warn))
		}
		pictures.take(c.name)
	}
	if *screens == "" {
		p.checkConsole()
		return
	}

	// The rest is for the pictures.
	s.set(func(*bridge.Status) {})
	for i := range 14 {
		post(fmt.Sprintf("msg_text_%d", i), "hola")
		post(fmt.Sprintf("msg_type_%d", i), `{"eventType":"a b","payload":{}}`)
		post(fmt.Sprintf("msg_none_%d", i), `{"payload":{}}`)
	}
	post("msg_new", `{"eventType":"workorder.closed","payload":{"_id":"48","state":"CERRADA_OK","priority":"x","note":"a\u202eb"}}`)
	p.open(url)
	p.waitFor("the dead letters", `$('#dead-total').startsWith('42, ')`)
	pictures.take("15 dead letters")
	pictures.url = url + "/?type=workorder.closed"
	pictures.take("16 filtered")
	pictures.url = url + "/?event=4"
	pictures.take("17 an event")
	pictures.url = url + "/?event=60"
	pictures.take("18 a dead letter")
	pictures.url = url
	pictures.then = script(`document.querySelector('#dead-discard-all').click()`)
	pictures.take("19 a question")
}

// pictures leaves pictures of the page in -screens.
type pictures struct {
	*browser
	url  string
	then chromedp.Action[chromedp.Void]
}

func (p *pictures) take(name string) {
	p.t.Helper()
	if *screens == "" {
		return
	}
	for _, size := range [][2]int64{{1280, 900}, {390, 844}} {
		for _, theme := range []string{"light", "dark"} {
			for _, language := range []string{"es", "en"} {
				p.run(chromedp.EmulateViewport(size[0], size[1]), func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
					media := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}
					_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: media})
					return chromedp.Void{}, err
				})
				p.run(chromedp.Navigate(p.url))
				p.run(script(fmt.Sprintf(`document.querySelector('#languages [data-lang="%s"]').click()`, language)))
				p.waitFor("the page", fmt.Sprintf(`document.documentElement.lang === '%s' && $('#stream') && $('#history-note') === ''`, language))
				time.Sleep(1200 * time.Millisecond) // the second round, for what comes after the first
				if p.then != nil {
					p.run(p.then)
				}
				wide, err := chromedp.Run(p.ctx, chromedp.Evaluate[int](`document.scrollingElement.scrollWidth - window.innerWidth`))
				if err != nil || wide > 0 {
					p.t.Errorf("%s, %d, %s: the page is %d px wider than the screen (%v)", name, size[0], language, wide, err)
				}
				picture, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
				if err == nil {
					err = os.WriteFile(filepath.Join(*screens, fmt.Sprintf("%s %d %s %s.png", name, size[0], theme, language)), picture, 0o600)
				}
				if err != nil {
					p.t.Error(err)
				}
			}
		}
	}
	p.run(chromedp.EmulateViewport(1280, 900), script(`document.querySelector('#languages [data-lang="en"]').click()`))
}
