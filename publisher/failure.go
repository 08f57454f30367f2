package publisher

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// The server's error codes that tell something about a publish. The numbers are
// the server's errors.json; its HTTP-like "code" does not tell them apart.
const (
	codeAccountLimit   jetstream.ErrorCode = 10002
	codeClusterNoPeers jetstream.ErrorCode = 10005
	codeNotAvailable   jetstream.ErrorCode = 10008
	codeResources      jetstream.ErrorCode = 10023
	codeMemory         jetstream.ErrorCode = 10028
	codeJSNotEnabled   jetstream.ErrorCode = 10076
	codeJSNotForAcct   jetstream.ErrorCode = 10039
	codeStorage        jetstream.ErrorCode = 10047
	codeMessageTooBig  jetstream.ErrorCode = 10054
	codeWrongStream    jetstream.ErrorCode = 10060
	codeStoreFailed    jetstream.ErrorCode = 10077
	codeHeadersTooBig  jetstream.ErrorCode = 10097
	codeSealed         jetstream.ErrorCode = 10109
	codeStreamOffline  jetstream.ErrorCode = 10118
	codeIDInProcess    jetstream.ErrorCode = 10158
	codeTooMany        jetstream.ErrorCode = 10167
)

// byCode is the table of failures that the server answers with.
var byCode = map[jetstream.ErrorCode]bridge.Failure{
	codeMessageTooBig: {Class: bridge.Rejected, Reason: "larger than the stream's max_msg_size: raise it, then replay this dead letter"},
	codeHeadersTooBig: {Class: bridge.Rejected, Reason: "its headers are larger than JetStream's 64 KB, a limit that nothing raises: discard it"},

	codeStoreFailed:    {Class: bridge.Held, Reason: "the stream refuses it: it is at a limit and discards new messages, or cannot store: make room in it or raise its limits"},
	codeAccountLimit:   {Class: bridge.Held, Reason: "the NATS account is at its JetStream limit: raise it or make room"},
	codeResources:      {Class: bridge.Held, Reason: "the NATS server is out of resources: look at its disk and memory"},
	codeMemory:         {Class: bridge.Held, Reason: "the NATS server is out of memory for JetStream"},
	codeStorage:        {Class: bridge.Held, Reason: "the NATS server is out of storage for JetStream: make room on its disk or raise its limit"},
	codeClusterNoPeers: {Class: bridge.Held, Reason: "the NATS cluster has too few servers up"},
	codeNotAvailable:   {Class: bridge.Held, Reason: "JetStream is not available for the moment"},
	codeJSNotEnabled:   {Class: bridge.Held, Reason: "JetStream is not enabled on the NATS server: enable it"},
	codeJSNotForAcct:   {Class: bridge.Held, Reason: "JetStream is not enabled for the NATS account: enable it"},
	codeStreamOffline:  {Class: bridge.Held, Reason: "the stream is offline: look at its servers"},
	codeTooMany:        {Class: bridge.Held, Reason: "the stream has more requests than it can take: it will go on by itself"},
	codeIDInProcess:    {Class: bridge.Held, Reason: "the stream is still busy with an earlier attempt"},
	codeWrongStream:    {Class: bridge.Held, Reason: "another stream has this subject: give it back to the configured one"},
	codeSealed:         {Class: bridge.Held, Reason: "the stream is sealed: configure another, or make this one anew"},
}

// byError is the table of failures that the client finds.
var byError = []struct {
	err     error
	failure bridge.Failure
}{
	{nats.ErrConnectionClosed, bridge.Failure{Class: bridge.LinkDown, Reason: "connection to NATS lost"}},
	{nats.ErrDisconnected, bridge.Failure{Class: bridge.LinkDown, Reason: "connection to NATS lost"}},
	{nats.ErrConnectionReconnecting, bridge.Failure{Class: bridge.LinkDown, Reason: "connection to NATS lost"}},
	{nats.ErrReconnectBufExceeded, bridge.Failure{Class: bridge.LinkDown, Reason: "connection to NATS lost"}},
	{nats.ErrStaleConnection, bridge.Failure{Class: bridge.LinkDown, Reason: "connection to NATS is stale"}},
	{context.Canceled, bridge.Failure{Class: bridge.LinkDown, Reason: "the bridge is stopping"}},

	{jetstream.ErrNoStreamResponse, bridge.Failure{Class: bridge.Held, Reason: "no stream answers: it is missing, or its cluster has no leader"}},
	{jetstream.ErrInvalidJSAck, bridge.Failure{Class: bridge.Held, Reason: "something that is not JetStream answers on this subject: stop that responder"}},
	{context.DeadlineExceeded, noAnswer},
	{jetstream.ErrAsyncPublishTimeout, noAnswer},
	{nats.ErrTimeout, bridge.Failure{Class: bridge.Held, Reason: "no acknowledgement in time"}},

	{nats.ErrMaxPayload, bridge.Failure{Class: bridge.Rejected, Reason: "larger than the NATS server's max_payload: raise it, then replay this dead letter"}},
	{nats.ErrBadHeaderMsg, bridge.Failure{Class: bridge.Rejected, Reason: "its headers cannot be written"}},
	{nats.ErrBadSubject, bridge.Failure{Class: bridge.Rejected, Reason: "its subject is not valid"}},
	{nats.ErrHeadersNotSupported, bridge.Failure{Class: bridge.Held, Reason: "the NATS server has headers switched off: switch them on"}},
}

var noAnswer = bridge.Failure{Class: bridge.Held, Reason: "no acknowledgement in time: the server is paused, its disk full, the link broken, the stream without acks, or the NATS user without permission"}

// classify says what kind of failure err is.
func classify(err error) *bridge.Failure {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		if f, ok := byCode[api.ErrorCode]; ok {
			f.Err = err
			return &f
		}
		return &bridge.Failure{Class: bridge.Unknown, Reason: "JetStream refuses it", Err: err}
	}
	for _, row := range byError {
		if errors.Is(err, row.err) {
			f := row.failure
			f.Err = err
			return &f
		}
	}
	return &bridge.Failure{Class: bridge.Unknown, Reason: "publish", Err: err}
}

// isCode says whether the server answered with code.
func isCode(err error, code jetstream.ErrorCode) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == code
}
