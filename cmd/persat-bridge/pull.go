package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/pull"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
)

// newPullers makes one for each source that has a polling endpoint.
func newPullers(cfg *config.Config, b *bridge.Bridge, j *journal.Journal, log *zap.Logger, registry prometheus.Registerer) ([]*pull.Puller, error) {
	var pullers []*pull.Puller
	for _, name := range slices.Sorted(maps.Keys(cfg.Sources)) {
		p := cfg.Sources[name].Pull
		if p.URL == "" {
			continue
		}
		start, err := pull.ParseStart(p.Start)
		if err != nil {
			return nil, fmt.Errorf("sources.%s.pull.start: %w", name, err)
		}
		puller, err := pull.New(pull.Options{
			Source: name, URL: p.URL, Token: p.Token.Reveal(), Start: start, Interval: p.Interval,
			Acceptor: b, Positions: j, Log: log, Registerer: registry,
			Notice: func(text string) { b.Notice("pull "+name, text) },
		})
		if err != nil {
			return nil, fmt.Errorf("sources.%s.pull: %w", name, err)
		}
		pullers = append(pullers, puller)
	}
	return pullers, nil
}

// runPullers runs all of them until ctx ends or one fails.
func runPullers(ctx context.Context, pullers []*pull.Puller) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { <-ctx.Done(); return nil })
	for _, p := range pullers {
		group.Go(func() error { return p.Run(ctx) })
	}
	return group.Wait()
}
