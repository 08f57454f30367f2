package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// traceFlush bounds the sending of the last spans at the end of the process.
const traceFlush = 3 * time.Second

// startTracing sends spans by OTLP over HTTP, as the standard OTEL_* variables say:
// where to, which sampler, which resource. It returns nil when they say not to.
func startTracing(ctx context.Context, log *zap.Logger) (*sdktrace.TracerProvider, error) {
	if wanted, err := tracingWanted(); !wanted || err != nil {
		return nil, err
	}
	otel.SetErrorHandler(&traceErrors{log: log})
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("trace exporter: %w", err)
	}
	// What the environment says of the resource wins over what is said here.
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "persat-bridge"), attribute.String("service.version", thisVersion())), resource.WithFromEnv())
	if err != nil {
		// What could not be read is left out of the spans; events do not suffer.
		log.Warn("spans describe this process in part: see OTEL_RESOURCE_ATTRIBUTES", zap.Error(err))
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithBatcher(exporter), sdktrace.WithResource(about)}
	if os.Getenv("OTEL_TRACES_SAMPLER") == "" {
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(&upTo{rate.NewLimiter(tracesPerSecond, tracesPerSecond)})))
	}
	return sdktrace.NewTracerProvider(options...), nil
}

// tracingWanted reads the variables that this program does not leave to the SDK.
func tracingWanted() (bool, error) {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false, nil
	}
	if name := os.Getenv("OTEL_TRACES_EXPORTER"); name != "" && name != "otlp" {
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q: this program has otlp and none", name)
	}
	for _, variable := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := os.Getenv(variable); protocol != "" && protocol != "http/protobuf" {
			return false, fmt.Errorf("%s is %q: this program has http/protobuf, which collectors take on port 4318", variable, protocol)
		}
	}
	return true, nil
}

// tracesPerSecond are recorded unless OTEL_TRACES_SAMPLER says otherwise.
const tracesPerSecond = 100

// upTo samples everything until there is much. All of an ordinary day is traced; an
// import of a hundred thousand events costs the bridge no tenth of its throughput,
// and does not drop spans out of the middle of traces because the exporter's queue
// is full. A trace that the sender has sampled is always recorded.
type upTo struct{ limiter *rate.Limiter }

func (s *upTo) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	result := sdktrace.SamplingResult{Decision: sdktrace.Drop, Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState()}
	if s.limiter.Allow() {
		result.Decision = sdktrace.RecordAndSample
	}
	return result
}

func (s *upTo) Description() string { return fmt.Sprintf("UpTo{%d/s}", tracesPerSecond) }

// traceErrors is told of each batch that could not be sent, every few seconds while
// the collector is away. The log hears of it once an hour: events do not suffer.
type traceErrors struct {
	log *zap.Logger

	mu   sync.Mutex
	last time.Time
	more int // since last
}

func (h *traceErrors) Handle(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.last) < time.Hour {
		h.more++
		return
	}
	h.log.Warn("spans could not be sent; events are not touched by that", zap.Error(err), zap.Int("since_the_last_line", h.more))
	h.last, h.more = time.Now(), 0
}
