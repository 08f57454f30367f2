package webhook

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// trace begins the span of an authentic request, as of when the request began, and
// gives d its context to be stored. A request that is refused before the journal makes no span, or
// a stranger could fill the collector. The end takes the status of the answer.
func (s *Server) trace(ctx context.Context, d *bridge.Delivery, start time.Time) (context.Context, func(code int, outcome string)) {
	if s.tracer == nil {
		return ctx, func(int, string) {}
	}
	ctx, span := s.tracer.Start(bridge.ContextWithTraceparent(ctx, d.Traceparent), "receive", trace.WithTimestamp(start), server)
	d.Traceparent = bridge.Traceparent(span.SpanContext())
	if !span.IsRecording() { // most may not be sampled
		return ctx, func(int, string) {}
	}
	return ctx, func(code int, outcome string) {
		// Never the body.
		span.SetAttributes(attribute.String("persat.source", d.Source), attribute.String("persat.event_id", d.ID), attribute.String("persat.event_type", d.Type),
			attribute.String("persat.outcome", outcome))
		if code >= 500 {
			span.SetStatus(otelcodes.Error, outcome)
		}
		span.End()
	}
}

var server = trace.WithSpanKind(trace.SpanKindServer)
