package publisher

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// creation finds what would keep the bridge from creating the stream. It asks for the
// parts of JetStream's API that only a person's tools need otherwise, so a user of the
// bridge's may not have them: what is not found out then is a note.
func (c *check) creation(ctx context.Context, want jetstream.StreamConfig) {
	judged := false
	if want.Replicas > 1 && c.nc.ConnectedClusterName() == "" {
		c.say(Error, "nats.stream.replicas is %d, but the server is one alone: use 1, or set nats.url to a cluster", want.Replicas)
	} else {
		judged = c.acceptable(ctx, want)
	}
	var unknown []string
	if !c.accountAllows(ctx, want, judged) {
		unknown = append(unknown, c.api.subject(askAccount))
	}
	if !c.subjectsFree(ctx, want.Subjects) {
		unknown = append(unknown, c.api.subject(askNames))
	}
	if len(unknown) > 0 {
		c.say(Note, "the NATS user may not use %s, so the limits of its account, or other streams with these subjects, cannot be seen from here: if the stream cannot be created, the status page has the server's words", strings.Join(unknown, " and "))
	}
}

// Requests of JetStream's API.
const (
	askAccount = "INFO"
	askNames   = "STREAM.NAMES"
)

// acceptable lets the server judge the configuration without creating anything: an
// update is looked at as a whole before it is refused, because the stream in it is not
// that of its subject. It returns false when the server did not judge.
func (c *check) acceptable(ctx context.Context, want jetstream.StreamConfig) bool {
	subject := c.api.subject("STREAM.UPDATE." + want.Name)
	want.Name = noStream
	data, err := json.Marshal(want)
	if err != nil {
		c.say(Error, "%v", err)
		return false
	}
	a, err := c.ask(ctx, &nats.Msg{Subject: subject, Data: data})
	switch {
	case err != nil, a.Error == nil:
		return false // that the user may not update is no matter before the stream is there
	case isCode(a.Error, server.JSStreamMismatchErr), isCode(a.Error, server.JSStreamNotFoundErr):
	default:
		c.say(Error, "the server would not create the stream: %s: change the key of nats.stream that it names, or the server", a.Error.Description)
	}
	return true
}

// accountLimits is the part of an answer about the account that limits a new stream.
type accountLimits struct {
	Streams  int                     `json:"streams"`
	Reserved uint64                  `json:"reserved_storage"`
	Limits   jetstream.AccountLimits `json:"limits"`
}

// accountAllows compares the stream with the limits of its account, but those that the
// server has judged already. It returns false when the user may not ask for them.
func (c *check) accountAllows(ctx context.Context, want jetstream.StreamConfig, judged bool) bool {
	var account struct {
		accountLimits
		Tiers map[string]accountLimits `json:"tiers"`
	}
	if !c.learn(ctx, askAccount, nil, &account) {
		return false
	}
	limits, needs := account.accountLimits, max(want.MaxBytes, 0)
	if len(account.Tiers) > 0 {
		tier := fmt.Sprintf("R%d", want.Replicas)
		var ok bool
		if limits, ok = account.Tiers[tier]; !ok {
			c.say(Error, "the account has no tier %s, which nats.stream.replicas %d is in: choose another number, or have the account given one", tier, want.Replicas)
			return true
		}
	} else {
		needs *= int64(want.Replicas)
	}
	l := limits.Limits
	switch {
	case l.MaxStore == 0:
		c.say(Error, "the account has no file storage (max_file is 0): have it given some")
	case l.MaxStore > 0 && int64(limits.Reserved)+needs > l.MaxStore:
		c.say(Error, "nats.stream.max_bytes is %d, and the account has %d bytes of file storage, %d of them reserved: lower it, or have the account's max_file raised", want.MaxBytes, l.MaxStore, limits.Reserved)
	}
	if l.MaxStreams > 0 && limits.Streams >= l.MaxStreams {
		c.say(Error, "the account has %d of at most %d streams already: remove one, or have max_streams raised", limits.Streams, l.MaxStreams)
	}
	if !judged && l.MaxBytesRequired && want.MaxBytes <= 0 {
		c.say(Error, "the account asks for a limit of every stream (max_bytes_required): set nats.stream.max_bytes")
	}
	if !judged && l.StoreMaxStreamBytes > 0 && want.MaxBytes > l.StoreMaxStreamBytes {
		c.say(Error, "nats.stream.max_bytes is %d, and a stream of the account may have %d: lower it", want.MaxBytes, l.StoreMaxStreamBytes)
	}
	return true
}

// subjectsFree looks for another stream that has one of the subjects, or a part of it.
// It returns false when the user may not ask.
func (c *check) subjectsFree(ctx context.Context, subjects []string) bool {
	for _, subject := range subjects {
		var names struct {
			Streams []string `json:"streams"`
		}
		if !c.learn(ctx, askNames, fmt.Appendf(nil, `{"subject":%q}`, subject), &names) {
			return false
		}
		for _, name := range names.Streams {
			if name != c.p.o.Stream.Name {
				c.say(Error, "stream %s has subjects in %s, and two streams may not have the same: take them from it, or give the source another subject_prefix", name, subject)
			}
		}
	}
	return true
}

// learn asks for what is good to know. It returns false when it is not told.
func (c *check) learn(ctx context.Context, request string, data []byte, into any) bool {
	got, err := c.request(ctx, &nats.Msg{Subject: c.api.subject(request), Data: data})
	return err == nil && json.Unmarshal(got, into) == nil
}
