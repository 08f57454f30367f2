package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/bridge/webhook"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
)

type sendOptions struct {
	all         bool
	url         string
	secret      string
	file        string
	id          string
	count       int
	rate        float64
	concurrency int
}

// manySends is from when on a table of every answer says less than a summary.
const manySends = 20

func (p *program) sendCommand() *cobra.Command {
	var o sendOptions
	c := &cobra.Command{
		Use:   "send TYPE… | --all",
		Short: "Sign and post sample events, as Persat would",
		Long: "Sign and post sample events, as Persat would. Known types:\n  " + strings.Join(persat.Types(), "\n  ") +
			"\n\nEach event is posted once, without the sender's retries; the exit code is 1 when one was not answered 2xx.",
		Args: cobra.ArbitraryArgs,
	}
	f := c.Flags()
	f.BoolVar(&o.all, "all", false, "one of every known type")
	f.StringVar(&o.url, "url", "http://127.0.0.1:8080/webhooks/persat", "where to post; user:password@ in it is sent as HTTP Basic")
	f.StringVar(&o.secret, "secret", "", "signing secret, whsec_…, of several the first (default: $PERSAT_WEBHOOK_SECRET; '' does not sign)")
	f.StringVar(&o.file, "file", "", "post this file's bytes instead of a sample; - is standard input")
	f.StringVar(&o.id, "id", "", "delivery id (default: a new one for each event)")
	f.IntVar(&o.count, "count", 1, "how many of each type, each of another entity")
	f.Float64Var(&o.rate, "rate", 0, "events per second, 0 = as fast as they go")
	f.IntVar(&o.concurrency, "concurrency", 1, "connections")
	c.RunE = func(c *cobra.Command, types []string) error {
		origin := "--secret"
		if !c.Flags().Changed("secret") {
			origin, o.secret = "PERSAT_WEBHOOK_SECRET", p.getenv("PERSAT_WEBHOOK_SECRET")
		}
		// While one replaces another there are several, as for serve.
		secrets, err := config.SplitSecrets(o.secret)
		if err != nil {
			return usageError{fmt.Errorf("%s: %w", origin, err)}
		}
		if o.secret = ""; len(secrets) > 0 {
			o.secret = secrets[0]
		}
		if err := cmp.Or(o.validate(types), o.signs(origin)); err != nil {
			return usageError{err}
		}
		if o.all {
			types = persat.Types()
		}
		return p.send(c.Context(), o, types)
	}
	return c
}

func (o *sendOptions) validate(types []string) error {
	switch {
	case o.file != "" && (o.all || len(types) > 0):
		return errors.New("--file brings its own event: give no type and no --all")
	case o.file == "" && !o.all && len(types) == 0:
		return errors.New("give event types, or --all; 'persat-bridge send --help' lists them")
	case o.all && len(types) > 0:
		return errors.New("give event types or --all, not both")
	case o.count < 1:
		return errors.New("--count: at least 1")
	case o.concurrency < 1:
		return errors.New("--concurrency: at least 1")
	case o.rate < 0:
		return errors.New("--rate: 0 or more")
	}
	if u, err := url.Parse(o.url); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return errors.New("--url: not an address: write it like http://127.0.0.1:8080/webhooks/persat")
	}
	for _, t := range types {
		if !slices.Contains(persat.Types(), t) {
			return fmt.Errorf("no sample of event type %q; 'persat-bridge send --help' lists them, --file posts your own", t)
		}
	}
	return nil
}

// signs finds out before anything is sent whether the secret and the id can sign.
func (o *sendOptions) signs(origin string) error {
	if o.secret == "" {
		return nil
	}
	if _, err := webhook.ParseSecrets([]string{o.secret}); err != nil {
		return fmt.Errorf("%s: not whsec_ and base64: copy it whole from the sender's portal", origin)
	}
	if _, err := webhook.Sign(o.secret, cmp.Or(o.id, newDeliveryID()), time.Now(), nil); err != nil {
		return errors.New("--id: not 1 to 256 visible ASCII characters, without spaces")
	}
	return nil
}

// posting is one event to post, and what came of it.
type posting struct {
	label string
	id    string
	body  []byte
	answer
	err error
}

func (p *program) send(ctx context.Context, o sendOptions, types []string) error {
	postings, err := p.postings(o, types)
	if err != nil {
		return err
	}
	s := newSender(o.url, o.secret, o.concurrency)
	defer s.close()
	limit := rate.NewLimiter(rate.Inf, 1)
	if o.rate > 0 {
		limit = rate.NewLimiter(rate.Limit(o.rate), 1)
	}
	bar := p.bar(len(postings))
	queue := make(chan *posting)
	var group sync.WaitGroup
	for range o.concurrency {
		group.Go(func() {
			for q := range queue {
				q.answer, q.err = s.post(ctx, q.id, q.body)
				_ = bar.Add(1)
			}
		})
	}
	begin, sent := time.Now(), 0
	for _, q := range postings {
		if limit.Wait(ctx) != nil {
			break
		}
		queue <- q
		sent++
	}
	close(queue)
	group.Wait()
	_ = bar.Finish()
	return p.reportSends(o, postings[:sent], len(postings), time.Since(begin))
}

func (p *program) postings(o sendOptions, types []string) ([]*posting, error) {
	var postings []*posting
	add := func(label string, body []byte) {
		postings = append(postings, &posting{label: label, id: cmp.Or(o.id, newDeliveryID()), body: body})
	}
	if o.file != "" {
		body, err := p.readFile(o.file)
		if err != nil {
			return nil, usageError{fmt.Errorf("--file: %w", err)}
		}
		for range o.count {
			add(o.file, body)
		}
		return postings, nil
	}
	for n := range o.count {
		for _, t := range types {
			entity := ""
			if o.count > 1 {
				entity = fmt.Sprint(1000 + n)
			}
			body, err := persat.Sample(t, entity)
			if err != nil {
				return nil, err
			}
			add(t, body)
		}
	}
	return postings, nil
}

func (p *program) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(p.stdin)
	}
	return os.ReadFile(name)
}

// bar shows progress on a terminal when there is much to wait for.
func (p *program) bar(total int) *progressbar.ProgressBar {
	if total <= manySends || !isTerminal(p.stderr) {
		return progressbar.DefaultSilent(int64(total))
	}
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(p.stderr), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("events"), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}

func (p *program) reportSends(o sendOptions, sent []*posting, total int, took time.Duration) error {
	var refused []*posting
	for _, q := range sent {
		if q.err != nil || !q.ok() {
			refused = append(refused, q)
		}
	}
	if total <= manySends {
		paint, width := newStyle(p.stdout, p.getenv), columns(p.stdout)
		for _, q := range sent {
			fmt.Fprintln(p.stdout, q.line(paint, width))
		}
	} else {
		p.summarise(sent, took)
	}
	switch {
	case len(sent) < total:
		return fmt.Errorf("stopped after %d of %d events", len(sent), total)
	case len(refused) > 0:
		return fmt.Errorf("not accepted: %d of %d%s", len(refused), total, o.advice(refused[0]))
	}
	return nil
}

// line is what came of it, for people.
func (q *posting) line(paint style, width int) string {
	row := func(code, status, took, id string) string {
		return fmt.Sprintf("%-23s %s %s%*s  %s", shown(q.label, 40), code, status, 20-len(status), took, id)
	}
	switch {
	case q.err != nil:
		return annotate(row(paint.paint(red, "---"), "no answer", "", q.id), q.err.Error(), width)
	case q.ok():
		return row(paint.paint(green, fmt.Sprint(q.code)), q.Status, millis(q.took), q.id)
	}
	return annotate(row(paint.paint(red, fmt.Sprint(q.code)), "refused", millis(q.took), q.id), q.Error, width)
}

// advice says what is likely to change when q was not accepted.
func (o *sendOptions) advice(q *posting) string {
	switch {
	case errors.Is(q.err, syscall.ECONNREFUSED):
		return ": nothing listens there: is 'persat-bridge serve' running? --url says where to post"
	case q.code == http.StatusBadRequest && o.secret == "":
		return ": not signed: set --secret or PERSAT_WEBHOOK_SECRET"
	case o.secret != "" && strings.HasPrefix(q.Error, "signature wrong"):
		return ": the bridge has another secret: give 'serve' and 'send' the same, in PERSAT_WEBHOOK_SECRET or --secret"
	}
	return ""
}

// summarise counts the answers and measures the time to them.
func (p *program) summarise(sent []*posting, took time.Duration) {
	counts := make(map[string]int)
	var times []time.Duration
	for _, q := range sent {
		switch {
		case q.err != nil:
			counts["no answer: "+q.err.Error()]++
		case q.ok():
			counts[fmt.Sprintf("%d %s", q.code, q.Status)]++
			times = append(times, q.took)
		default:
			counts[fmt.Sprintf("%d %s", q.code, q.Error)]++
		}
	}
	fmt.Fprintf(p.stdout, "%d events in %s, %.0f per second\n", len(sent), took.Round(time.Millisecond), float64(len(sent))/took.Seconds())
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(p.stdout, "  %7d  %s\n", counts[what], what)
	}
	if len(times) > 0 {
		slices.Sort(times)
		fmt.Fprintf(p.stdout, "POST to 2xx: p50 %s, p90 %s, p99 %s, slowest %s\n", millis(quantile(times, .5)), millis(quantile(times, .9)), millis(quantile(times, .99)), millis(times[len(times)-1]))
	}
}

// quantile of sorted times.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
