package publisher

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// api is where a JetStream takes requests: the one of the connection's own account and
// domain, that of another domain, or one that another account exports.
type api struct {
	domain string
	prefix string // of subjects, as the account imports it
}

// subject is that of a request, such as STREAM.INFO.PERSAT.
func (a api) subject(request string) string {
	switch {
	case a.domain != "":
		return "$JS." + a.domain + ".API." + request
	case a.prefix != "":
		return strings.TrimSuffix(a.prefix, ".") + "." + request
	}
	return "$JS.API." + request
}

func (a api) jetStream(nc *nats.Conn, options ...jetstream.JetStreamOpt) (jetstream.JetStream, error) {
	switch {
	case a.domain != "":
		return jetstream.NewWithDomain(nc, a.domain, options...)
	case a.prefix != "":
		return jetstream.NewWithAPIPrefix(nc, a.prefix, options...)
	}
	return jetstream.New(nc, options...)
}

// DialJetStream is Dial with the JetStream that the options name. To close its connection
// is the caller's.
func DialJetStream(ctx context.Context, o ConnectOptions, more ...nats.Option) (jetstream.JetStream, error) {
	nc, a, err := dial(ctx, o, more...)
	if err != nil {
		return nil, err
	}
	js, err := a.jetStream(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return js, nil
}
