package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// consoleEvents is how many events the journal of BenchmarkConsole has.
const consoleEvents = 1_000_000

// BenchmarkConsole is the page of a bridge whose journal has a million events, in a real
// browser: how long it takes to open (open-ms), how long a filter takes to answer
// (filter-ms, and replay-count-ms for a dry run of all), and what is left of the accept
// throughput while an open page asks (open/closed, the median of rounds that take turns;
// closed/closed is how far from 1 chance alone comes), and how much of this machine's
// processors the page costs the bridge meanwhile (open-cpu-%).
//
//	go test -run '^$' -bench Console -benchtime 1x -timeout 30m ./cmd/persat-bridge
func BenchmarkConsole(b *testing.B) {
	target := newBridgeProcess(b)
	fillConsole(b, filepath.Join(target.dir, "journal"))
	target.Start()
	for target.metric("persat_bridge_pending_events") > 0 {
		time.Sleep(time.Second)
	}
	p := newBrowser(b)
	body, err := persat.Sample("workorder.finished", "")
	if err != nil {
		b.Fatal(err)
	}
	get := func(query string) time.Duration {
		begin := time.Now()
		response, err := http.Get(target.admin + "/api/events?limit=25&" + query)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
			b.Fatal(response.Status, err)
		}
		response.Body.Close()
		return time.Since(begin)
	}
	for b.Loop() {
		var opens, filters, counts []time.Duration
		for range 7 {
			begin := time.Now()
			p.open(target.admin)
			p.waitFor("the page", `document.querySelectorAll('#events > li').length === 25 && $('#tiles').includes('in all')`)
			opens = append(opens, time.Since(begin))
		}
		p.run(chromedp.Navigate("about:blank"))
		for i := range 10 {
			for _, query := range []string{"type=workorder.closed", "q=msg_" + fmt.Sprint(i*99_991), "entity=" + fmt.Sprint(i*99_991), "state=dead", "source=persat&type=no.such"} {
				filters = append(filters, get(query))
			}
		}
		for range 3 {
			begin := time.Now()
			response, err := http.Post(target.admin+"/api/replay?all=true&dry_run=true", "", nil)
			if err != nil || response.StatusCode != http.StatusOK {
				b.Fatal(err, response)
			}
			response.Body.Close()
			counts = append(counts, time.Since(begin))
		}
		asked := asksOf(b, p, target.admin)
		const round = 4 * time.Second
		var open, same, costs []float64
		// work is how many events were accepted, and the processor time of each.
		work := func() (events, each float64) {
			before := target.metric("process_cpu_seconds_total")
			events = load(b, target, body, round)
			return events, (target.metric("process_cpu_seconds_total") - before) / events
		}
		for range 10 {
			before, eachBefore := work()
			ctx, closePage := context.WithCancel(b.Context())
			closed := make(chan struct{})
			go func() { askAgain(ctx, asked); close(closed) }()
			with, each := work()
			closePage()
			<-closed
			after, eachAfter := work()
			open, same = append(open, 2*with/(before+after)), append(same, after/before)
			costs = append(costs, (each-(eachBefore+eachAfter)/2)*with/round.Seconds()/float64(runtime.NumCPU())*100)
		}
		b.ReportMetric(middle(opens).Seconds()*1000, "open-ms")
		b.ReportMetric(middle(filters).Seconds()*1000, "filter-ms")
		b.ReportMetric(middle(counts).Seconds()*1000, "replay-count-ms")
		b.ReportMetric(middle(open), "open/closed")
		b.ReportMetric(middle(same), "closed/closed")
		b.ReportMetric(middle(costs), "open-cpu-%")
	}
	b.ReportMetric(0, "ns/op")
}

// asked is a request of the page, and when it came.
type asked struct {
	URL string  `json:"url"`
	At  float64 `json:"at"` // in milliseconds
}

// asksOf are the requests of an open page in ten seconds, without those with which it
// opens. The browser belongs to the operator's machine: here it would take the processors
// from those who post.
func asksOf(b *testing.B, p *browser, url string) (all []asked) {
	b.Helper()
	p.open(url)
	p.waitFor("the page", `document.querySelectorAll('#events > li').length === 25`)
	time.Sleep(12 * time.Second)
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`JSON.stringify(performance.getEntriesByType('resource').filter((e) => e.name.includes('/api/') && e.startTime > 2000 && e.startTime < 12000).map((e) => ({ url: e.name, at: e.startTime - 2000 })))`))
	if err == nil {
		err = json.Unmarshal([]byte(text), &all)
	}
	if err != nil || len(all) < 20 {
		b.Fatalf("an open page asked %d times in ten seconds (%v)", len(all), err)
	}
	p.run(chromedp.Navigate("about:blank"))
	return all
}

// askAgain asks what the page asked, again and again.
func askAgain(ctx context.Context, all []asked) {
	for {
		begin := time.Now()
		for _, r := range all {
			select {
			case <-time.After(time.Until(begin.Add(time.Duration(r.At * float64(time.Millisecond))))):
			case <-ctx.Done():
				return
			}
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
			if err != nil {
				continue
			}
			if response, err := http.DefaultClient.Do(request); err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
		}
	}
}

// middle is the median.
func middle[N time.Duration | float64](values []N) N {
	slices.Sort(values)
	return values[len(values)/2]
}

// noNATS is a publisher that a journal is filled without.
type noNATS struct{}

func (noNATS) Connect(context.Context) (bridge.Session, error) { return nil, bridge.ErrNoSession }

// fillConsole puts consoleEvents into a journal. They are pending.
func fillConsole(b *testing.B, dir string) {
	b.Helper()
	j, err := journal.Open(journal.Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	br, err := bridge.New(bridge.Options{Journal: j, Publisher: noNATS{}, Sources: []string{"persat"}})
	if err != nil {
		b.Fatal(err)
	}
	types := persat.Types()
	batch := make([]bridge.Delivery, 0, 1000)
	for i := range consoleEvents {
		eventType, entity := types[i%len(types)], fmt.Sprint(i)
		batch = append(batch, bridge.Delivery{Source: "persat", ID: "msg_" + entity, Type: eventType, Entities: []string{entity}, Body: []byte(eventBody(eventType, entity, "a note of the usual length, as they come"))})
		if len(batch) == cap(batch) {
			if _, err := br.AcceptAll(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}
