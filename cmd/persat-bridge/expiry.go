package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// expiry watches when the served certificate ends. An expired one makes every sender give
// up in the handshake, where no request and no metric of one shows it.
type expiry struct {
	certificate *certificate
	notice      func(about, text string)
	log         *zap.Logger

	reported string
}

// metric is when the served certificate ends.
func (e *expiry) metric() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "persat_bridge_certificate_expiry_timestamp_seconds",
		Help: "When the certificate of the public listener expires, in seconds since 1970.",
	}, func() float64 { return float64(e.certificate.notAfter().Unix()) })
}

// run looks once a minute until ctx ends.
func (e *expiry) run(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for e.look(time.Now()); ; {
		select {
		case now := <-tick.C:
			e.look(now)
		case <-ctx.Done():
			return
		}
	}
}

// look reports a certificate that has expired or soon will, once, and its renewal.
func (e *expiry) look(now time.Time) {
	e.certificate.refresh()
	notAfter, soon := e.certificate.notAfter(), e.certificate.warnFrom()
	text := ""
	switch at := notAfter.UTC().Format(time.RFC3339); {
	case !now.Before(notAfter):
		text = "the certificate of server.tls has expired on " + at + ": every sender gives up before it sends; renew it; the bridge reads the new one by itself"
	case !now.Before(soon):
		text = "the certificate of server.tls expires on " + at + ": renew it; the bridge reads the new one by itself"
	}
	if text == e.reported {
		return
	}
	if text != "" {
		e.log.Warn(text, zap.Time("not_after", notAfter))
	} else {
		e.log.Info("the certificate of server.tls has been renewed", zap.Time("not_after", notAfter))
	}
	e.notice("certificate", text)
	e.reported = text
}
