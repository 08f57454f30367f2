package config

import (
	"net/netip"
	"time"
)

// Config is all that an operator can choose. The comment of each field is the
// manual's entry for it.
type Config struct {
	// Server is where the sender's requests come in.
	Server Server `yaml:"server"`
	// Admin is where operators look in.
	Admin Admin `yaml:"admin"`
	// Sources are the senders. The key is the {source} of /webhooks/{source}, the
	// beginning of message ids and a metrics label: a-z, 0-9, - and _, at most 63.
	// To rename one is to forget which of its delivery ids were seen. Without any,
	// there is one: persat, signed, its secret in PERSAT_WEBHOOK_SECRET.
	Sources map[string]Source `yaml:"sources"`
	// Journal is where events are kept until, and for a while after, JetStream
	// has them.
	Journal Journal `yaml:"journal"`
	// NATS is where events go.
	NATS NATS `yaml:"nats"`
	// Publish is how they go there.
	Publish Publish `yaml:"publish"`
	// Accept is what has to have happened before a 2xx.
	Accept Accept `yaml:"accept"`
	// Tracing sends spans by OTLP. Default off.
	Tracing Tracing `yaml:"tracing"`
	// Alerts tell people of what needs them. Default nobody.
	Alerts Alerts `yaml:"alerts"`
	// Log is what the process says, on stderr.
	Log Log `yaml:"log"`
}

// Server is the public listener.
type Server struct {
	// Listen is host:port; without a host, all addresses. Default ":8080". "" listens
	// nowhere, for sources that are all pulled.
	Listen string `yaml:"listen"`
	// MaxBodyBytes bounds one request body; more is a 413, which the sender
	// repeats in vain. Default 4MiB, at most 32MiB. An outside NATS has a limit of its
	// own (max_payload, 1MiB unless raised): what is over that becomes a dead letter.
	MaxBodyBytes Size `yaml:"max_body_bytes"`
	// MaxInFlight bounds the authentic requests that are written to the journal at
	// once; more are a 503. Default 1024. Each may hold MaxBodyBytes of memory.
	// Requests that are still being sent are bounded apart, so that a stranger who
	// sends slowly keeps nobody out.
	MaxInFlight int `yaml:"max_in_flight"`
	// ShutdownTimeout is how long requests may take to end when the process is
	// told to stop. Default 20s. Keep it below the supervisor's own patience
	// (30s in Kubernetes, 10s in Docker), or that kills first. Nothing accepted
	// is lost then either.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
	// TLS serves HTTPS. Both files or none; default none, for a proxy in front.
	TLS ServerTLS `yaml:"tls"`
	// TrustedProxies are the addresses or ranges whose X-Forwarded-For is
	// believed. Default none. Whoever is in it can claim to be any address, and
	// so pass allow_cidrs.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
}

// ServerTLS is the certificate of the public listener.
type ServerTLS struct {
	// CertFile is a PEM file, the certificate first, then its chain.
	CertFile string `yaml:"cert_file"`
	// KeyFile is its private key, PEM, unencrypted.
	KeyFile string `yaml:"key_file"`
}

// Admin is the operators' listener.
type Admin struct {
	// Listen is host:port. Default "127.0.0.1:8081". Off loopback it needs a
	// token: the API shows bodies, discards and replays events.
	Listen string `yaml:"listen"`
	// Token is what the page and the API ask for, as a Bearer token. Default
	// none. /livez, /readyz and /metrics stay open all the same.
	Token Secret `yaml:"token"`
	// TokenFile is a file that holds the token, instead of Token.
	TokenFile string `yaml:"token_file"`
	// Pprof serves /debug/pprof/. Default false: profiles show memory.
	Pprof bool `yaml:"pprof"`
	// URL is where people reach the page, such as https://ops.example.com/bridge/: alerts
	// link to it. Default none.
	URL string `yaml:"url"`
}

// Journal is the durable store of accepted events.
type Journal struct {
	// Dir is the journal's own directory, on a disk that survives a restart; no
	// network share, and one process only. Default ./data/journal, relative to
	// the working directory.
	Dir string `yaml:"dir"`
	// MaxBytes bounds it. From 90 % of it on published events are dropped before their
	// time, the oldest first; pending and dead ones never: at the limit the sender gets 503.
	// Default 10GiB, at least 16MiB.
	MaxBytes Size `yaml:"max_bytes"`
	// Retention is how long published events are kept for replay and to heal a
	// stream that lost its tail. Default 72h. What NATS loses later than that is
	// not refilled.
	Retention time.Duration `yaml:"retention"`
	// DedupWindow is how long delivery ids are remembered. Default 72h. The
	// sender repeats for 27 h 35 min: shorter stores late repeats twice.
	DedupWindow time.Duration `yaml:"dedup_window"`
}

// Publish is the way from the journal to JetStream.
type Publish struct {
	// MaxInFlight bounds the events that wait for an acknowledgement at once;
	// events of one entity never overlap. A slow server has fewer. Default 1024, 1 to 16384.
	MaxInFlight int `yaml:"max_in_flight"`
	// AckTimeout is how long one attempt waits for JetStream. Default 5s.
	// Elections take up to 8 s; an attempt too early costs a repeat, which
	// JetStream recognises.
	AckTimeout time.Duration `yaml:"ack_timeout"`
	// Backoff is how waits between attempts grow.
	Backoff Backoff `yaml:"backoff"`
	// MaxAttempts is after how many failures of no known kind an event becomes a
	// dead letter. Default 20. Outages and full streams do not count.
	MaxAttempts int `yaml:"max_attempts"`
}

// Backoff is how waits between attempts grow.
type Backoff struct {
	// Initial is the first wait. Default 100ms.
	Initial time.Duration `yaml:"initial"`
	// Max is the longest, jitter included. Default 30s: an event can be this late after a repair.
	Max time.Duration `yaml:"max"`
	// Multiplier is the growth from one wait to the next. Default 2, at least 1.
	Multiplier float64 `yaml:"multiplier"`
	// Jitter spreads each wait by this share of it, up and down. Default 0.5, 0 to 1.
	Jitter float64 `yaml:"jitter"`
}

// Accept is the meaning of a 2xx.
type Accept struct {
	// WaitFor is journal (default: the event is on this disk, fsynced) or stream
	// (JetStream has acknowledged it too, else 503). stream is for hosts whose
	// disk is not kept; with it, an outage of NATS is an outage of the webhook.
	WaitFor string `yaml:"wait_for"`
}

// Tracing is OpenTelemetry: three spans an event, sent by OTLP over HTTP.
type Tracing struct {
	// Enabled is false by default, and then costs nothing. The rest is in the
	// standard OTEL_* variables: OTEL_EXPORTER_OTLP_ENDPOINT (default
	// http://localhost:4318), OTEL_TRACES_SAMPLER (default: all, up to 100 traces
	// a second), OTEL_RESOURCE_ATTRIBUTES.
	Enabled bool `yaml:"enabled"`
}

// Log is what the process says.
type Log struct {
	// Level is debug, info (default), warn, error, dpanic, panic or fatal. Above
	// warn, outages go unmentioned.
	Level string `yaml:"level"`
	// Format is json, console or auto (default: console on a terminal).
	Format string `yaml:"format"`
}

// Default is the Config of an empty file and an empty environment. It does not
// start as it is: its one source has no secret.
func Default() *Config {
	return &Config{
		Server: Server{
			Listen:          ":8080",
			MaxBodyBytes:    4 * MiB,
			MaxInFlight:     1024,
			ShutdownTimeout: 20 * time.Second,
		},
		Admin:   Admin{Listen: "127.0.0.1:8081"},
		Sources: map[string]Source{defaultSource: newSource(defaultSource)},
		Journal: Journal{
			Dir:         "./data/journal",
			MaxBytes:    10 * GiB,
			Retention:   72 * time.Hour,
			DedupWindow: 72 * time.Hour,
		},
		NATS: NATS{
			Embedded: Embedded{Enabled: true, Listen: "127.0.0.1:4222", StoreDir: "./data/nats"},
			Stream:   Stream{Name: "PERSAT", Manage: true, Replicas: 1, DuplicateWindow: 2 * time.Hour, Compression: "none"},
		},
		Publish: Publish{
			MaxInFlight: 1024,
			AckTimeout:  5 * time.Second,
			Backoff:     Backoff{Initial: 100 * time.Millisecond, Max: 30 * time.Second, Multiplier: 2, Jitter: 0.5},
			MaxAttempts: 20,
		},
		Accept: Accept{WaitFor: "journal"},
		Alerts: Alerts{Language: "en", After: 2 * time.Minute, Repeat: 24 * time.Hour, Silence: 24 * time.Hour},
		Log:    Log{Level: "info", Format: "auto"},
	}
}
