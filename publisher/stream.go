package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// streamTimeout bounds a look at the stream.
const streamTimeout = 5 * time.Second

// subjects are what the stream must take: everything under each prefix.
func (o *Options) subjects() []string {
	var subjects []string
	for _, prefix := range slices.Sorted(maps.Values(o.Prefixes)) {
		subjects = append(subjects, prefix+".>")
	}
	return subjects
}

// lookAgain looks once for all attempts that fail at the same time, and not more
// than once a second: a window full of attempts that find no stream would else
// each ask for it, and each make it.
func (s *session) lookAgain() {
	if !s.looking.TryLock() {
		return
	}
	defer s.looking.Unlock()
	if time.Since(s.looked) < time.Second {
		return
	}
	s.look(context.Background())
	s.looked = time.Now()
}

// look finds out about the stream, and makes or widens it when it is to be
// managed. It remembers what it found for the attempts of this session.
func (s *session) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, streamTimeout)
	defer cancel()
	found, err := s.ensure(ctx)
	s.mu.Lock()
	s.problem = err
	other, await := false, false
	if err == nil {
		s.subjects = found.Config.Subjects
		other = s.absent || !s.created.IsZero() && !s.created.Equal(found.Created)
		s.created, s.domain = found.Created, &found.Domain
		s.allowBatches(found.Config)
	} else {
		s.subjects = nil
		s.absent = s.absent || errors.Is(err, errAbsent)
		await = !s.awaiting && !errors.Is(err, bridge.ErrNotPermitted)
		s.awaiting = s.awaiting || await
	}
	s.mu.Unlock()
	if other {
		// It may not be the stream that the journal knows, or not have all of it. A new
		// session begins with finding that out.
		s.nc.Close()
		return
	}
	if await {
		s.explaining.Go(s.awaitStream)
	}
	switch {
	case err == nil:
		s.p.report("the stream is not as configured; it is left as it is", strings.Join(s.p.o.differences(found.Config), "; "))
	case !errors.Is(ctx.Err(), context.Canceled):
		s.p.report("the stream cannot be looked at or made", err.Error())
	}
}

// awaitLook is how often a session looks again for a stream that it could not look at, or
// that was missing: it may be back, or may be created now. No event need be waiting for it.
const awaitLook = 5 * time.Second

// awaitStream looks until the stream is there or the session ends.
func (s *session) awaitStream() {
	awaiting := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.awaiting = s.problem != nil
		return s.awaiting
	}
	for awaiting() {
		select {
		case <-time.After(awaitLook):
			s.lookAgain()
		case <-s.done:
			return
		}
	}
}

// errAbsent is in the error of a look that found no stream, and made none.
var errAbsent = errors.New("it is not there")

// absent is why a missing stream is missing still.
type absent struct{ error }

func (absent) Is(target error) bool { return target == errAbsent }
func (a absent) Unwrap() error      { return a.error }

// ensure returns the stream. It creates a missing stream where that is allowed, adds
// missing subjects, and changes nothing else, for the rest is its operator's.
func (s *session) ensure(ctx context.Context) (*jetstream.StreamInfo, error) {
	o := s.p.o.Stream
	stream, err := s.js.Stream(ctx, o.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err := s.create(ctx); err != nil {
			return nil, absent{err}
		}
		stream, err = s.js.Stream(ctx, o.Name) // the answer to a create has no domain
	}
	if err != nil {
		return nil, s.apiError("look it up", s.api.subject("STREAM.INFO."+o.Name), err)
	}
	s.p.o.Creation.Found()
	found := stream.CachedInfo()
	missing := missingSubjects(s.p.o.subjects(), found.Config.Subjects)
	if len(missing) == 0 || !o.Manage {
		return found, nil
	}
	wider := found.Config
	// A narrower subject gives way to the one that has it: the server refuses
	// subjects that overlap.
	wider.Subjects = slices.DeleteFunc(slices.Clone(wider.Subjects), func(have string) bool { return covered(have, missing) })
	wider.Subjects = append(wider.Subjects, missing...)
	if _, err := s.js.UpdateStream(ctx, wider); err != nil {
		return nil, s.apiError("add subjects "+strings.Join(missing, ", "), s.api.subject("STREAM.UPDATE."+o.Name), err)
	}
	s.p.o.Log.Info("stream widened", zap.String("stream", o.Name), zap.Strings("subjects", missing))
	found.Config = wider
	return found, nil
}

// create creates the missing stream.
func (s *session) create(ctx context.Context) error {
	o := s.p.o.Stream
	if !o.Manage {
		return fmt.Errorf("does not exist, and nats.stream.manage is off: create it with subjects %s", strings.Join(s.p.o.subjects(), ", "))
	}
	if err := s.p.o.Creation.Allowed(ctx); err != nil {
		return err
	}
	_, err := s.js.CreateStream(ctx, s.p.o.streamConfig())
	if isCode(err, server.JSStreamCreateErrF) {
		s.p.o.Creation.Unreadable(err)
	}
	if err != nil {
		return s.apiError("create it", s.api.subject("STREAM.CREATE."+o.Name), err)
	}
	s.p.o.Log.Info("stream created", zap.String("stream", o.Name), zap.Strings("subjects", s.p.o.subjects()))
	return nil
}

func missingSubjects(wanted, have []string) []string {
	var missing []string
	for _, subject := range wanted {
		if !covered(subject, have) {
			missing = append(missing, subject)
		}
	}
	return missing
}

func (o *Options) streamConfig() jetstream.StreamConfig {
	maxBytes := o.Stream.MaxBytes
	if maxBytes == 0 {
		maxBytes = -1
	}
	compression := jetstream.NoCompression
	if o.Stream.Compress {
		compression = jetstream.S2Compression
	}
	return jetstream.StreamConfig{
		Name:        o.Stream.Name,
		Description: "Persat events, by persat-bridge",
		Subjects:    o.subjects(),
		Storage:     jetstream.FileStorage,
		Replicas:    max(o.Stream.Replicas, 1),
		MaxAge:      o.Stream.MaxAge,
		MaxBytes:    maxBytes,
		Duplicates:  o.Stream.DuplicateWindow,
		Compression: compression,
		AllowDirect: true,
		// Where the server syncs each message, batches are how a backlog goes fast.
		AllowAtomicPublish: true,
	}
}

// differences says in what a stream is not as configured, and what that
// means. It is for people: nothing is changed by it.
func (o *Options) differences(have jetstream.StreamConfig) []string {
	want := o.streamConfig()
	var found []string
	differ := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if missing := missingSubjects(want.Subjects, have.Subjects); len(missing) > 0 {
		differ("it does not have the subjects %s: events of them are held", strings.Join(missing, ", "))
	}
	if have.Storage != want.Storage {
		differ("its storage is %s, not file: a restart of the server loses it", strings.ToLower(have.Storage.String()))
	}
	if have.Retention != jetstream.LimitsPolicy {
		differ("its retention is %s, not limits: a consumed message is gone, and so is its id", strings.ToLower(have.Retention.String()))
	}
	if have.Replicas != want.Replicas {
		differ("its replicas are %d, not %d", have.Replicas, want.Replicas)
	}
	if have.Duplicates != want.Duplicates {
		differ("its duplicate window is %s, not %s", have.Duplicates, want.Duplicates)
	}
	if have.MaxAge != want.MaxAge {
		differ("its max_age is %s, not %s", have.MaxAge, want.MaxAge)
	}
	if have.MaxBytes != want.MaxBytes && (have.MaxBytes > 0 || want.MaxBytes > 0) {
		differ("its max_bytes is %d, not %d", have.MaxBytes, want.MaxBytes)
	}
	if have.Compression != want.Compression {
		differ("its compression is %s, not %s", have.Compression, want.Compression)
	}
	if have.NoAck {
		differ("it does not acknowledge (no_ack): every event is held")
	}
	if have.Sealed {
		differ("it is sealed: every event is held")
	}
	return found
}

// report logs what is wrong with the stream when it has not said so before.
func (p *JetStream) report(what, problems string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if problems == p.reported {
		return
	}
	p.reported = problems
	if problems != "" {
		p.o.Log.Warn(what, zap.String("stream", p.o.Stream.Name), zap.String("problems", problems))
	}
}
