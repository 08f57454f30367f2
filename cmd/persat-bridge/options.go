package main

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/bridge/webhook"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
	"github.com/persat-bridge/persat-bridge/publisher"
)

func publisherOptions(cfg *config.Config, embedded *publisher.Embedded, log *zap.Logger) publisher.Options {
	prefixes, tokens := make(map[string]string), make(map[string]func([]string) string)
	for name, source := range cfg.Sources {
		prefixes[name] = source.SubjectPrefix
		if source.ByEntity() {
			tokens[name] = persat.SubjectToken
		}
	}
	s := cfg.NATS.Stream
	return publisher.Options{
		Connect: connectOptions(cfg, embedded),
		Stream: publisher.StreamOptions{
			Name:            s.Name,
			Manage:          s.Manage,
			Replicas:        s.Replicas,
			MaxAge:          s.MaxAge,
			MaxBytes:        int64(s.MaxBytes),
			DuplicateWindow: s.DuplicateWindow,
			Compress:        s.Compression == "s2",
		},
		Prefixes:     prefixes,
		EntityTokens: tokens,
		Types:        persat.Types(),
		AckTimeout:   cfg.Publish.AckTimeout,
		Log:          log,
	}
}

func connectOptions(cfg *config.Config, embedded *publisher.Embedded) publisher.ConnectOptions {
	n := cfg.NATS
	return publisher.ConnectOptions{
		Embedded:  embedded,
		URL:       n.URL.Reveal(),
		Context:   n.Context,
		CredsFile: n.CredsFile,
		NkeyFile:  n.NKeyFile,
		User:      n.User,
		Password:  n.Password.Reveal(),
		Token:     n.Token.Reveal(),
		CAFile:    n.TLS.CAFile,
		CertFile:  n.TLS.CertFile,
		KeyFile:   n.TLS.KeyFile,
		Domain:    n.Domain,
		APIPrefix: n.APIPrefix,
	}
}

func webhookOptions(cfg *config.Config, log *zap.Logger, registry prometheus.Registerer, tracer trace.Tracer, b *bridge.Bridge) webhook.Options {
	public, _ := connectionLimits(openFiles())
	o := webhook.Options{
		MaxConnections:  public,
		MaxBodyBytes:    int64(cfg.Server.MaxBodyBytes),
		MaxInFlight:     cfg.Server.MaxInFlight,
		TrustedProxies:  cfg.Server.TrustedProxies,
		ShutdownTimeout: cfg.Server.ShutdownTimeout,
		Ready:           b.Ready,
		Notice:          b.Notice,
		Log:             log,
		Registerer:      registry,
		Tracer:          tracer,
	}
	if cfg.Accept.WaitFor == "stream" {
		// Accept ends by itself after the acknowledgement's timeout.
		o.AnswerTimeout = cfg.Publish.AckTimeout + 10*time.Second
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Sources)) {
		s := cfg.Sources[name]
		o.Sources = append(o.Sources, webhook.Source{
			Name:       name,
			Auth:       webhook.Auth(s.Auth),
			Secrets:    reveal(s.Secrets),
			Tolerance:  s.Tolerance,
			AllowCIDRs: s.AllowCIDRs,
			RateLimit:  s.RateLimit,
		})
	}
	return o
}

func reveal(secrets []config.Secret) []string {
	var revealed []string
	for _, s := range secrets {
		revealed = append(revealed, s.Reveal())
	}
	return revealed
}
