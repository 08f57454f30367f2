package publisher

import (
	"context"
	"errors"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// byCode is the table of failures that the server answers with, by its error code; its
// HTTP-like "code" does not tell them apart.
var byCode = map[server.ErrorIdentifier]bridge.Failure{
	server.JSStreamMessageExceedsMaximumErr: {Class: bridge.Rejected, Reason: "larger than the stream's max_msg_size: raise the limit, then replay"},
	server.JSStreamHeaderExceedsMaximumErr:  {Class: bridge.Rejected, Reason: "its headers are larger than JetStream's 64 KB, a limit that nothing raises: discard it"},

	server.JSStreamStoreFailedF:             {Class: bridge.Held, Reason: "the stream refuses it: it is at a limit and discards new messages, or cannot store: make room in it or raise its limits"},
	server.JSAccountResourcesExceededErr:    {Class: bridge.Held, Reason: "the NATS account is at its JetStream limit: raise it or make room"},
	server.JSInsufficientResourcesErr:       {Class: bridge.Held, Reason: "the NATS server is out of resources: look at its disk and memory"},
	server.JSMemoryResourcesExceededErr:     {Class: bridge.Held, Reason: "the NATS server is out of memory for JetStream"},
	server.JSStorageResourcesExceededErr:    {Class: bridge.Held, Reason: "the NATS server is out of storage for JetStream: make room on its disk or raise its limit"},
	server.JSClusterNoPeersErrF:             {Class: bridge.Held, Reason: "the NATS cluster has too few servers up"},
	server.JSClusterNotAvailErr:             {Class: bridge.Held, Reason: "JetStream is not available for the moment"},
	server.JSNotEnabledErr:                  {Class: bridge.Held, Reason: "JetStream is not enabled on the NATS server: enable it"},
	server.JSNotEnabledForAccountErr:        {Class: bridge.Held, Reason: "JetStream is not enabled for the NATS account: enable it"},
	server.JSStreamOfflineErr:               {Class: bridge.Held, Reason: "the stream is offline: look at its servers"},
	server.JSStreamTooManyRequests:          {Class: bridge.Held, Reason: "the stream has more requests than it can take: it will go on by itself"},
	server.JSStreamDuplicateMessageConflict: {Class: bridge.Held, Reason: "the stream is still busy with an earlier attempt"},
	server.JSStreamNotMatchErr:              {Class: bridge.Held, Reason: "another stream has this subject: give it back to the configured one"},
	server.JSStreamSealedErr:                {Class: bridge.Held, Reason: "the stream is sealed: configure another, or recreate this one"},
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

	{nats.ErrMaxPayload, bridge.Failure{Class: bridge.Rejected, Reason: "larger than the NATS server's max_payload: raise the limit, then replay"}},
	{nats.ErrBadHeaderMsg, bridge.Failure{Class: bridge.Rejected, Reason: "its headers cannot be written"}},
	{nats.ErrBadSubject, bridge.Failure{Class: bridge.Rejected, Reason: "its subject is not valid"}},
	{nats.ErrHeadersNotSupported, bridge.Failure{Class: bridge.Held, Reason: "the NATS server has headers switched off: switch them on"}},
}

var noAnswer = bridge.Failure{Class: bridge.Held, Reason: "no acknowledgement in time: the server is paused, its disk full, the link broken, the stream without acks, or the NATS user without permission"}

// classify says what kind of failure err is.
func classify(err error) *bridge.Failure {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		if f, ok := byCode[server.ErrorIdentifier(api.ErrorCode)]; ok {
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
func isCode(err error, code server.ErrorIdentifier) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && server.ErrorIdentifier(api.ErrorCode) == code
}
