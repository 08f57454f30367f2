package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/net/netutil"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/admin"
	"github.com/persat-bridge/persat-bridge/bridge/alert"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/bridge/pull"
	"github.com/persat-bridge/persat-bridge/bridge/webhook"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
	"github.com/persat-bridge/persat-bridge/publisher"
)

// app is a bridge in all its parts, from configuration to listening.
type app struct {
	cfg *config.Config
	log *zap.Logger

	public, operators net.Listener
	certificate       *certificate // nil: plain HTTP
	expiry            *expiry      // of certificate
	embedded          *publisher.Embedded
	journal           *journal.Journal
	bridge            *bridge.Bridge
	webhook           *webhook.Server
	pullers           []*pull.Puller
	admin             *admin.Server
	alerter           *alert.Alerter // nil: nobody is told
	stream            *streamMetrics
	registry          *prometheus.Registry

	closers []closer // what run's servers do not close themselves
}

// closer is a thing acquired, by the name that its error is told with.
type closer struct {
	name  string
	close func() error
}

// newApp acquires everything, in the order in which one part needs another. On
// an error nothing stays acquired.
func newApp(ctx context.Context, cfg *config.Config, log *zap.Logger, level *zap.AtomicLevel) (_ *app, err error) {
	a := &app{cfg: cfg, log: log}
	defer func() {
		if err != nil {
			for _, l := range []net.Listener{a.public, a.operators} {
				if l != nil {
					err = errors.Join(err, l.Close())
				}
			}
			err = errors.Join(err, a.close())
		}
	}()
	registry := prometheus.NewRegistry()
	a.registry = registry
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())

	var tracer trace.Tracer // nil: no traces, and nothing spent on them
	if cfg.Tracing.Enabled {
		provider, err := startTracing(ctx, log)
		if err != nil {
			return nil, fmt.Errorf("tracing: %w", err)
		}
		if provider != nil {
			tracer = provider.Tracer("github.com/persat-bridge/persat-bridge")
			a.onClose("traces", func() error {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), traceFlush)
				defer cancel()
				if err := provider.Shutdown(ctx); err != nil {
					log.Warn("the last spans could not be sent", zap.Error(err))
				}
				return nil
			})
		}
	}

	a.journal, err = journal.Open(journal.Options{Dir: cfg.Journal.Dir, DedupWindow: cfg.Journal.DedupWindow, MaxBytes: int64(cfg.Journal.MaxBytes), Log: log, Registerer: registry})
	if err != nil {
		return nil, fmt.Errorf("journal.dir: %w", err)
	}
	a.onClose("journal", a.closeJournal)

	if cfg.NATS.Embedded.Enabled {
		a.embedded, err = publisher.StartEmbedded(ctx, publisher.EmbeddedOptions{
			Listen:   cfg.NATS.Embedded.Listen,
			Domain:   cfg.NATS.Domain,
			StoreDir: cfg.NATS.Embedded.StoreDir,
			MaxStore: int64(cfg.NATS.Embedded.MaxStore),
			// It loses power with the journal. The journal would heal the stream, but not a
			// consumer that has acknowledged what the stream then has no more.
			SyncAlways: true,
			// Room for the headers, so that what the door lets in can be published.
			MaxPayload: int64(cfg.Server.MaxBodyBytes + 64*config.KiB),
			Log:        log,
		})
		if err != nil {
			return nil, err
		}
		a.onClose("embedded NATS", a.embedded.Close)
	}
	creation := bridge.NewCreation(a.journal, cfg.NATS.Stream.Name, a.embedded != nil && a.embedded.IsNew())
	out := publisherOptions(cfg, a.embedded, log)
	out.Creation = creation
	jetstream, err := publisher.New(out)
	if err != nil {
		return nil, err
	}
	a.bridge, err = bridge.New(bridge.Options{
		Journal:       a.journal,
		Publisher:     jetstream,
		Creation:      creation,
		Describe:      jetstream.Describe,
		Sources:       slices.Sorted(maps.Keys(cfg.Sources)),
		Types:         persat.Types(),
		MaxInFlight:   cfg.Publish.MaxInFlight,
		Batches:       bridge.Batches{Enabled: cfg.Publish.Batch == "auto"},
		AckTimeout:    cfg.Publish.AckTimeout,
		Backoff:       bridge.Backoff(cfg.Publish.Backoff),
		MaxAttempts:   cfg.Publish.MaxAttempts,
		WaitForStream: cfg.Accept.WaitFor == "stream",
		Retention:     cfg.Journal.Retention,
		DedupWindow:   cfg.Journal.DedupWindow,
		MaxBytes:      int64(cfg.Journal.MaxBytes),
		Log:           log,
		Registerer:    registry,
		Tracer:        tracer,
	})
	if err != nil {
		return nil, err
	}
	a.webhook, err = webhook.New(webhookOptions(cfg, log, registry, tracer, a.bridge), a.bridge)
	if err != nil {
		return nil, err
	}
	if a.pullers, err = newPullers(cfg, a.bridge, a.journal, log, registry); err != nil {
		return nil, err
	}
	if cfg.Server.Listen != "" {
		if a.public, err = net.Listen("tcp", cfg.Server.Listen); err != nil {
			return nil, fmt.Errorf("server.listen: %w", err)
		}
	}
	if cfg.Server.TLS.CertFile != "" {
		if a.certificate, err = loadCertificate(cfg.Server.TLS.CertFile, cfg.Server.TLS.KeyFile, log); err != nil {
			return nil, fmt.Errorf("server.tls: %w", err)
		}
		a.expiry = &expiry{certificate: a.certificate, notice: a.bridge.Notice, log: log}
		registry.MustRegister(a.expiry.metric())
	}
	if a.operators, err = net.Listen("tcp", cfg.Admin.Listen); err != nil {
		return nil, fmt.Errorf("admin.listen: %w", err)
	}
	a.admin, err = admin.New(admin.Options{
		Listen:    cfg.Admin.Listen,
		Token:     cfg.Admin.Token.Reveal(),
		Pprof:     cfg.Admin.Pprof,
		Version:   thisVersion(),
		Gatherer:  registry,
		Log:       log,
		Level:     level,
		Endpoints: a.endpoints(),
		Refused:   a.refused,
		Learn: func(ctx context.Context, since time.Time, limit int) (any, error) {
			lessons, err := learnJournal(ctx, a.journal, since, limit)
			return explainLessons(lessons), err
		},
	}, a.bridge)
	if err != nil {
		return nil, err
	}
	a.stream = &streamMetrics{look: a.bridge.Stream}
	a.registry.MustRegister(a.stream)
	if a.alerter, err = newAlerter(a); err != nil {
		return nil, err
	}
	return a, nil
}

// closeJournal has nothing to add to a failure that has ended the bridge already.
func (a *app) closeJournal() error {
	before := a.journal.Err()
	if err := a.journal.Close(); before == nil {
		return err
	}
	return nil
}

func (a *app) onClose(name string, f func() error) { a.closers = append(a.closers, closer{name, f}) }

// close gives back what was acquired, the last first.
func (a *app) close() error {
	var errs []error
	for _, c := range slices.Backward(a.closers) {
		if err := c.close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", c.name, err))
		}
	}
	a.closers = nil
	return errors.Join(errs...)
}

// run serves until ctx ends or a part fails, and closes everything. The end, in
// order: the bridge is unready and every request hears 503; requests under way
// finish; publishes in flight end; NATS and the journal close. The admin listener
// answers until nothing else is left.
func (a *app) run(ctx context.Context) (err error) {
	base := context.WithoutCancel(ctx)
	adminCtx, stopAdmin := context.WithCancel(base)
	defer stopAdmin()
	bridgeCtx, stopBridge := context.WithCancel(base)
	defer stopBridge()
	webhookCtx, stopWebhook := context.WithCancel(base)
	defer stopWebhook()

	_, operators := connectionLimits(openFiles())
	adminEnd := ended(func() error { return a.admin.Serve(adminCtx, netutil.LimitListener(a.operators, operators)) })
	bridgeEnd := ended(func() error { return a.bridge.Run(bridgeCtx) })
	var https *tls.Config
	if a.certificate != nil {
		https = a.certificate.serverTLS()
		watched := ended(func() error { a.expiry.run(webhookCtx); return nil })
		defer func() { stopWebhook(); <-watched }()
	}
	alerted := ended(func() error { // a stop is no condition to tell of
		if a.alerter != nil {
			a.alerter.Run(webhookCtx)
		}
		return nil
	})
	looked := ended(func() error { a.stream.run(webhookCtx); return nil })
	webhookEnd := ended(func() error {
		if a.public == nil { // every source is pulled
			<-webhookCtx.Done()
			return nil
		}
		return a.webhook.Serve(webhookCtx, a.public, https)
	})
	pullEnd := ended(func() error { return runPullers(webhookCtx, a.pullers) })
	a.log.Info("persat-bridge is up", a.addresses()...)

	var first error
	select {
	case <-ctx.Done():
		a.log.Info("stopping: new requests get a 503, requests under way are finished")
	case first = <-bridgeEnd:
		bridgeEnd <- nil
	case first = <-webhookEnd:
		webhookEnd <- nil
	case first = <-adminEnd:
		adminEnd <- nil
	case first = <-pullEnd:
		pullEnd <- nil
	}
	if first != nil {
		a.log.Error("stopping", zap.Error(first))
	}
	a.bridge.Drain()
	a.webhook.Drain()
	stopWebhook()
	err = errors.Join(<-webhookEnd, <-pullEnd, <-alerted, <-looked) // they use the journal or NATS
	stopBridge()
	err = errors.Join(first, err, <-bridgeEnd)
	pending := a.bridge.Status(base).Pending
	err = errors.Join(err, a.close())
	stopAdmin()
	err = errors.Join(err, <-adminEnd)
	if err == nil {
		a.log.Info("stopped", zap.Int("pending", pending))
	}
	return err
}

// ended runs f and gives its result.
func ended(f func() error) chan error {
	c := make(chan error, 1)
	go func() { c <- f() }()
	return c
}

func (a *app) addresses() []zap.Field {
	fields := []zap.Field{zap.String("version", thisVersion()), zap.String("webhooks", a.webhookURL("{source}")), zap.Int("pulled_sources", len(a.pullers)), zap.String("admin", "http://"+reachable(a.operators.Addr().String()))}
	fields = append(fields, zap.String("nats", natsName(a.cfg)))
	if a.embedded != nil {
		fields = append(fields, zap.String("nats_url", a.embedded.URL()))
	}
	return fields
}

// webhookURL is where a source delivers to, as seen from this machine.
func (a *app) webhookURL(source string) string {
	if a.public == nil {
		return "none: server.listen is empty"
	}
	scheme := "http"
	if a.certificate != nil {
		scheme = "https"
	}
	return scheme + "://" + reachable(a.public.Addr().String()) + "/webhooks/" + source
}

// endpoints are where the sources deliver to.
func (a *app) endpoints() (endpoints []admin.Endpoint) {
	for _, name := range slices.Sorted(maps.Keys(a.cfg.Sources)) {
		source := a.cfg.Sources[name]
		e := admin.Endpoint{Source: name, Auth: source.Auth, Pulled: source.Pull.URL != ""}
		if a.public != nil {
			e.URL, e.Path = a.webhookURL(name), "/webhooks/"+name
		}
		endpoints = append(endpoints, e)
	}
	return endpoints
}

// refused are the requests that were refused.
func (a *app) refused() []admin.RefusedRequests {
	list := []admin.RefusedRequests{}
	for _, r := range a.webhook.Refusals() {
		list = append(list, admin.RefusedRequests{
			Source: r.Source, Reason: string(r.Reason), Text: r.Text, Detail: r.Detail, Count: r.Count, Last: r.Last.UTC(), Address: r.Address,
		})
	}
	return list
}
