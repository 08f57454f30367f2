package config

import (
	"net/netip"
	"time"
)

// Config is all that an operator can choose. The comment of each field is the
// manual's entry for it.
type Config struct {
	// Server is the public listener: POST /webhooks/{source}.
	Server Server `yaml:"server"`
	// Admin is the operators' listener: health, metrics, status page, API.
	Admin Admin `yaml:"admin"`
	// Sources are the senders. The key is the {source} of the path, the beginning of message
	// ids and a metrics label: a-z, 0-9, - and _, at most 63. A renamed source forgets which
	// delivery ids it has seen. Without any, there is one: persat, signed, its secret in
	// PERSAT_WEBHOOK_SECRET.
	Sources map[string]Source `yaml:"sources"`
	// Journal is the store on disk. It keeps events until JetStream has them, and for a
	// while after.
	Journal Journal `yaml:"journal"`
	// NATS is where events are published.
	NATS NATS `yaml:"nats"`
	// Publish is how events get from the journal to JetStream.
	Publish Publish `yaml:"publish"`
	// Accept is what a 2xx means.
	Accept Accept `yaml:"accept"`
	// Tracing is OpenTelemetry: three spans for each event.
	Tracing Tracing `yaml:"tracing"`
	// Alerts are sent when something needs people, once when it begins and once when it
	// ends. They are for where no Prometheus does that.
	Alerts Alerts `yaml:"alerts"`
	// Log is the process's log, on stderr.
	Log Log `yaml:"log"`
}

// Server is the public listener.
type Server struct {
	// Listen is host:port; without a host, all addresses. Empty: no listener, for sources
	// that are all pulled.
	Listen string `yaml:"listen"`
	// MaxBodyBytes limits one request body, at most 32MiB. A larger body gets a 413, and the
	// sender's repeats get one too. An outside NATS has a limit of its own, max_payload,
	// 1MiB unless raised: an event over that becomes a dead letter. The embedded NATS takes
	// all that this limit lets in.
	MaxBodyBytes Size `yaml:"max_body_bytes"`
	// MaxInFlight limits the authentic requests that are being written to the journal; more
	// get a 503. Each may hold MaxBodyBytes of memory. Requests that are still being sent
	// have a limit of their own.
	MaxInFlight int `yaml:"max_in_flight"`
	// ShutdownTimeout is the time that requests have to end after SIGTERM. Keep it below the
	// supervisor's own timeout: 30s in Kubernetes, 10s in Docker. Nothing accepted is lost
	// when it is too short.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
	// TLS serves HTTPS without a proxy in front. Set both files or none.
	TLS ServerTLS `yaml:"tls"`
	// TrustedProxies are the addresses or ranges whose X-Forwarded-For is believed. A host
	// in it can claim to be any address, and so pass allow_cidrs.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
}

// ServerTLS is the certificate of the public listener.
type ServerTLS struct {
	// CertFile is a PEM file: the certificate first, then its chain.
	CertFile string `yaml:"cert_file"`
	// KeyFile is its private key, PEM, not encrypted.
	KeyFile string `yaml:"key_file"`
}

// Admin is the operators' listener.
type Admin struct {
	// Listen is host:port. Off loopback it needs a token: the API shows bodies, discards
	// events and replays them.
	Listen string `yaml:"listen"`
	// Token is what the page and the API ask for, as a Bearer token. /livez, /readyz and
	// /metrics need none.
	Token Secret `yaml:"token"`
	// TokenFile is a file that holds the token, instead of Token.
	TokenFile string `yaml:"token_file"`
	// Pprof serves /debug/pprof/. Profiles show memory, and so bodies and secrets.
	Pprof bool `yaml:"pprof"`
	// URL is where people reach the page, such as https://ops.example.com/bridge/: alerts
	// link to it.
	URL string `yaml:"url"`
}

// Journal is the durable store of accepted events.
type Journal struct {
	// Dir is the journal's own directory, relative to the working directory. It needs a disk
	// that survives a restart: no network share, and one process only. The last 5 % of the
	// disk, 1 GiB at most, are kept free: with less, the sender gets a 503.
	Dir string `yaml:"dir"`
	// MaxBytes limits the journal, at least 16MiB. From 90 % on, or with under 6 % of the
	// disk free (1.2 GiB at most), the oldest published events are dropped early. Pending
	// events and dead letters stay. When it is full the sender gets a 503.
	MaxBytes Size `yaml:"max_bytes"`
	// Retention is how long published events are kept, for a replay and to heal a stream
	// that lost messages. What NATS loses later than that is not published again.
	Retention time.Duration `yaml:"retention"`
	// DedupWindow is how long delivery ids are recognised. The sender repeats for 27 h 35
	// min: a shorter window takes late repeats for new events.
	DedupWindow time.Duration `yaml:"dedup_window"`
}

// Publish is the way from the journal to JetStream.
type Publish struct {
	// MaxInFlight is how many events wait for JetStream's acknowledgement at once, 1 to
	// 16384; of one entity, one. A server that answers slowly gets 256 at most.
	MaxInFlight int `yaml:"max_in_flight"`
	// Batch is auto or off. auto sends a backlog in atomic batches where the stream takes
	// them (allow_atomic) and they get more through than single messages, as where NATS
	// syncs each message: both are measured, again and again. off sends single messages.
	Batch string `yaml:"batch"`
	// AckTimeout is how long one attempt waits for JetStream. Elections take up to 8 s. A
	// shorter timeout costs repeats, which JetStream recognises.
	AckTimeout time.Duration `yaml:"ack_timeout"`
	// Backoff is the wait between attempts.
	Backoff Backoff `yaml:"backoff"`
	// MaxAttempts is how many failures of no known kind make an event a dead letter. Outages
	// and full streams do not count.
	MaxAttempts int `yaml:"max_attempts"`
}

// Backoff is how waits between attempts grow.
type Backoff struct {
	// Initial is the first wait.
	Initial time.Duration `yaml:"initial"`
	// Max is the longest wait, jitter included. An event can be this late after a repair.
	Max time.Duration `yaml:"max"`
	// Multiplier is the growth from one wait to the next, at least 1.
	Multiplier float64 `yaml:"multiplier"`
	// Jitter spreads each wait by this share of it, up and down, 0 to 1.
	Jitter float64 `yaml:"jitter"`
}

// Accept is the meaning of a 2xx.
type Accept struct {
	// WaitFor is journal (the event is on this disk, fsynced) or stream (JetStream has
	// acknowledged it too, else 503). stream is for hosts whose disk is not kept; with it,
	// an outage of NATS is an outage of the webhook.
	WaitFor string `yaml:"wait_for"`
}

// Tracing is OpenTelemetry: three spans an event, sent by OTLP over HTTP.
type Tracing struct {
	// Enabled sends spans by OTLP over HTTP. The rest is in the standard OTEL_* variables:
	// OTEL_EXPORTER_OTLP_ENDPOINT (http://localhost:4318 unless set), OTEL_TRACES_SAMPLER
	// (unless set: all, up to 100 traces a second), OTEL_RESOURCE_ATTRIBUTES.
	Enabled bool `yaml:"enabled"`
}

// Log is what the process says.
type Log struct {
	// Level is debug, info, warn, error, dpanic, panic or fatal. Above warn, outages are not
	// logged.
	Level string `yaml:"level"`
	// Format is json, console or auto: console on a terminal, json elsewhere.
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
			Batch:       "auto",
			AckTimeout:  5 * time.Second,
			Backoff:     Backoff{Initial: 100 * time.Millisecond, Max: 30 * time.Second, Multiplier: 2, Jitter: 0.5},
			MaxAttempts: 20,
		},
		Accept: Accept{WaitFor: "journal"},
		Alerts: Alerts{Language: "en", After: 2 * time.Minute, Repeat: 24 * time.Hour, Silence: 24 * time.Hour},
		Log:    Log{Level: "info", Format: "auto"},
	}
}
