package pull

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Acceptor makes deliveries durable; bridge.Bridge is one.
type Acceptor interface {
	// AcceptAll accepts the deliveries in their order, and returns once all of them
	// are on disk, or with the outcomes of those before the first that it could not
	// take and the error of that one. It is called by one goroutine at a time.
	AcceptAll(ctx context.Context, deliveries []bridge.Delivery) ([]bridge.Outcome, error)
}

// Positions keeps how far a source has been pulled; journal.Journal is one. A position
// that is set may be lost with the power, but never before what was accepted ahead of it.
type Positions interface {
	PullPosition(source string) ([]byte, error)
	SetPullPosition(source string, position []byte) error
}

var _ Acceptor = (*bridge.Bridge)(nil)

// Options says what a Puller fetches. Source, URL, Token, Acceptor and Positions are
// required.
type Options struct {
	Source string
	// URL is the polling endpoint's: https, or http on loopback.
	URL string
	// Token is the endpoint's key, sent as Bearer.
	Token string
	// Start is where the first fetch of all begins. Later ones go on from the position.
	Start Start
	// Interval is the pause after the endpoint had nothing more. Default 5 s.
	Interval time.Duration
	// PageItems is how many items a fetch asks for. Default 250.
	PageItems int
	// MaxPageBytes bounds a page in memory; a larger one is asked for again in smaller
	// parts. Default 64 MiB.
	MaxPageBytes int64
	// Transport carries the requests. Default: one like http.DefaultTransport, which
	// verifies certificates.
	Transport http.RoundTripper

	Acceptor  Acceptor
	Positions Positions
	// Notice, when set, is told of a failure that an operator has to mend, of another one
	// that lasts two minutes, and with an empty text when pulling works again.
	Notice     func(text string)
	Log        *zap.Logger
	Registerer prometheus.Registerer
}

func (o *Options) validate() error {
	if o.Source == "" || o.Acceptor == nil || o.Positions == nil {
		return errors.New("pull: a source, an acceptor and positions are needed")
	}
	if o.Token == "" {
		return fmt.Errorf("pull %s: no token", o.Source)
	}
	if o.Interval <= 0 {
		o.Interval = 5 * time.Second
	}
	if o.PageItems <= 0 {
		o.PageItems = 250
	}
	if o.MaxPageBytes <= 0 {
		o.MaxPageBytes = 64 << 20
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	return CheckURL(o.URL)
}

// Puller pulls one source. Status is safe for concurrent use; Run is called once.
type Puller struct {
	o       Options
	client  *client
	log     *zap.Logger
	metrics *metrics
	state   state
}

// New starts nothing.
func New(o Options) (*Puller, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	endpoint, err := url.Parse(o.URL)
	if err != nil {
		return nil, errURL
	}
	p := &Puller{
		o:      o,
		client: newClient(endpoint, o.Token, o.Transport, o.MaxPageBytes),
		log:    o.Log.With(zap.String("source", o.Source)),
	}
	p.state.begin(o.Source, o.Notice, time.Now())
	p.metrics, err = newMetrics(o.Registerer, o.Source, func() time.Duration { return p.lag(time.Now()) })
	return p, err
}

// Run pulls until ctx ends or the bridge stops, and then returns nil. Another error means that the journal
// cannot be read or written; the process has to end.
func (p *Puller) Run(ctx context.Context) error {
	at, err := p.load(time.Now())
	if err != nil {
		return err
	}
	group, both := errgroup.WithContext(ctx)
	pages := make(chan fetched) // one page is fetched while the one before is synced
	group.Go(func() error {
		defer close(pages)
		return p.fetchAll(both, at, pages)
	})
	group.Go(func() error { return p.acceptAll(both, pages) })
	err = group.Wait()
	if errors.Is(err, bridge.ErrStopping) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// load reads the position. A source that was never pulled gets the one that Start
// asks for, written down at once: a restart must not move it.
func (p *Puller) load(now time.Time) (position, error) {
	text, err := p.o.Positions.PullPosition(p.o.Source)
	if err != nil {
		return position{}, fmt.Errorf("read pull position of source %s: %w", p.o.Source, err)
	}
	if text != nil {
		return parsePosition(text)
	}
	at := p.o.Start.position(now)
	return at, p.save(at)
}

func (p *Puller) save(at position) error {
	if err := p.o.Positions.SetPullPosition(p.o.Source, at.text()); err != nil {
		return fmt.Errorf("write pull position of source %s: %w", p.o.Source, err)
	}
	return nil
}

// fetched is a page and the position behind it.
type fetched struct {
	deliveries []bridge.Delivery
	behind     position
	newest     time.Time // of its items; zero when none says
}

// fetchAll fetches page after page.
func (p *Puller) fetchAll(ctx context.Context, at position, pages chan<- fetched) error {
	wait := newBackOff()
	items := p.o.PageItems
	for {
		page, err := p.client.fetch(ctx, at, items)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var failed *Failure
		switch {
		case errors.As(err, &failed) && failed.Code == CodeTooLarge && items > 1:
			items /= 2
			continue
		case errors.As(err, &failed) && failed.Code == CodeIterator && at.Iterator != "":
			p.log.Warn("the polling endpoint no longer knows the position; pulling goes on from the time of the last item, and repeats are recognised", zap.Time("after", at.after()))
			at.Iterator = ""
			continue
		case errors.As(err, &failed):
			p.state.failed(failed, time.Now(), p.log)
			if err := pause(ctx, failed.wait(wait)); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		repeats := !page.Done && page.Iterator == at.Iterator
		if repeats {
			p.state.failed(&Failure{Code: CodeRepeats}, time.Now(), p.log)
		} else {
			p.state.worked(time.Now(), p.log)
		}
		wait.Reset()
		f := page.fetched(p.o.Source, at)
		if len(f.deliveries) > 0 || f.behind != at {
			select {
			case pages <- f:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		at = f.behind
		switch {
		case page.Done:
			p.state.caughtUp()
			items = p.o.PageItems
			if err := pause(ctx, p.o.Interval); err != nil {
				return err
			}
		case repeats: // the endpoint would give this page for ever
			if err := pause(ctx, p.o.Interval); err != nil {
				return err
			}
		}
	}
}

// acceptAll makes each page durable, then writes the position behind it.
func (p *Puller) acceptAll(ctx context.Context, pages <-chan fetched) error {
	for f := range pages {
		if err := p.accept(ctx, f.deliveries); err != nil {
			return err
		}
		if err := p.save(f.behind); err != nil {
			return err
		}
		p.state.reached(f.newest)
	}
	return nil
}

// accept returns once every delivery is on disk. While the journal is full or its disk
// does not answer, it tries again and holds the endpoint back.
func (p *Puller) accept(ctx context.Context, deliveries []bridge.Delivery) error {
	wait := newBackOff()
	for len(deliveries) > 0 {
		outcomes, err := p.o.Acceptor.AcceptAll(ctx, deliveries)
		for _, outcome := range outcomes {
			p.metrics.pulled[outcome].Inc()
			p.state.counted(outcome)
		}
		deliveries = deliveries[len(outcomes):]
		switch {
		case err == nil:
			p.state.taken(p.log)
		case errors.Is(err, bridge.ErrFailed), errors.Is(err, bridge.ErrStopping):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			p.state.refused(err, time.Now(), p.log)
			if err := pause(ctx, min(wait.NextBackOff(), refusedMost)); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	// failedMost is the longest pause after a failure that does not say when to come back.
	failedMost = time.Minute
	// refusedMost is the longest pause while the journal refuses events.
	refusedMost = 5 * time.Second
	// retryAfterMost bounds what a Retry-After may ask for.
	retryAfterMost = time.Hour
)

// newBackOff makes a sequence of pauses that never ends.
func newBackOff() backoff.BackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(500*time.Millisecond),
		backoff.WithMaxInterval(failedMost),
		backoff.WithMultiplier(2),
		backoff.WithMaxElapsedTime(0), // the library's default gives up after 15 minutes
	)
}

// pause waits, and returns an error when ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
