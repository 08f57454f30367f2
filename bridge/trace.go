package bridge

import (
	"context"
	"encoding/hex"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// A trace follows an event through three spans: receive (package webhook), journal,
// and one publish for each attempt. Between the last two the event may wait for
// hours and the process end, so their context is kept where the event is: in its
// header, as the traceparent of the receive span. The message carries that of
// the publish span, from which a consumer goes on.
//
// Without a Tracer there is no span, and no work: what the sender gave as
// traceparent is stored and passed on as it is. Nor are there a journal and a publish
// span where the receive span is not sampled: the message then carries that one's context.

// Traceparent writes a span's context as the W3C header of that name; it is empty
// for a context that is none.
func Traceparent(sc trace.SpanContext) string {
	if !sc.IsValid() {
		return ""
	}
	traceID, spanID := sc.TraceID(), sc.SpanID()
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, traceID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, spanID[:])
	b = append(b, '-')
	return string(hex.AppendEncode(b, []byte{byte(sc.TraceFlags())}))
}

// ContextWithTraceparent makes the span that a traceparent names the parent of those
// started from ctx. One that is empty or wrong changes nothing.
func ContextWithTraceparent(ctx context.Context, traceparent string) context.Context {
	if len(traceparent) != 55 {
		return ctx
	}
	var traceID trace.TraceID
	var spanID trace.SpanID
	var flags [1]byte
	_, err1 := hex.Decode(traceID[:], []byte(traceparent[3:35]))
	_, err2 := hex.Decode(spanID[:], []byte(traceparent[36:52]))
	_, err3 := hex.Decode(flags[:], []byte(traceparent[53:]))
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: trace.TraceFlags(flags[0]), Remote: true})
	if err1 != nil || err2 != nil || err3 != nil || !sc.IsValid() {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, sc)
}

// unsampled says that ctx is in a trace that is not sampled.
func unsampled(ctx context.Context) bool {
	parent := trace.SpanContextFromContext(ctx)
	return parent.IsValid() && !parent.IsSampled()
}

// traceJournal begins the span of making an event durable.
func (b *Bridge) traceJournal(ctx context.Context) trace.Span {
	if b.o.Tracer == nil || unsampled(ctx) {
		return noSpan
	}
	_, span := b.o.Tracer.Start(ctx, "journal")
	return span
}

// tracePublish begins the span of one attempt, and puts its context into e for the
// message to carry.
func (b *Bridge) tracePublish(e *Event) trace.Span {
	if b.o.Tracer == nil {
		return noSpan
	}
	ctx := ContextWithTraceparent(context.Background(), e.Traceparent)
	if unsampled(ctx) {
		return noSpan
	}
	_, span := b.o.Tracer.Start(ctx, "publish", producer)
	if span.IsRecording() {
		// The id has the source and the delivery id in it, and the receive span the rest.
		span.SetAttributes(attribute.String("messaging.system", "nats"), attribute.String("messaging.message.id", e.MessageID()))
	}
	e.Traceparent = Traceparent(span.SpanContext())
	return span
}

var producer = trace.WithSpanKind(trace.SpanKindProducer)

// endSpan ends a span with what came of it.
func endSpan(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// noSpan is what is ended when there is no tracer.
var noSpan = trace.SpanFromContext(context.Background())
