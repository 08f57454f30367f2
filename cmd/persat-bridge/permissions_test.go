package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// securedNATS is a server with the configuration of docker-compose.yml.
type securedNATS struct {
	*natstest.Server
	t     *testing.T
	admin jetstream.JetStream // as a user that may do everything
}

const testPassword = "for this test"

// composeUsers are the users of docker-compose.yml, as the server reads them.
func composeUsers(t *testing.T) *server.Options {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "conf"), os.DirFS("deploy/nats")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	users := fmt.Sprintf("BRIDGE_PASSWORD: %q\nCONSUMER_PASSWORD: %[1]q\nOUTSIDE_PASSWORD: %[1]q\n", testPassword)
	if err := os.WriteFile(filepath.Join(dir, "secrets/users.conf"), []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "conf/nats.conf")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The environment is of the whole process, and tests run beside this one.
	if err := os.WriteFile(file, bytes.Replace(bytes.Replace(text, []byte("$SERVER_NAME"), []byte("test"), 1), []byte("$NATS_MAX_STORE"), []byte("-1"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !o.SyncAlways {
		t.Error("nats.conf: sync_interval is not always")
	}
	return o
}

// newSecuredNATS starts a server on which user lacks one permission. Each of change changes
// its options before.
func newSecuredNATS(t *testing.T, user, without string, change ...func(*server.Options)) *securedNATS {
	t.Helper()
	o := composeUsers(t)
	for _, u := range o.Users {
		if u.Username == user {
			for _, p := range []*server.SubjectPermission{u.Permissions.Publish, u.Permissions.Subscribe} {
				p.Allow = slices.DeleteFunc(p.Allow, func(subject string) bool { return subject == without })
				if len(p.Allow) == 0 {
					p.Deny = []string{">"} // an empty list allows everything
				}
			}
		}
	}
	o.Users = append(o.Users, &server.User{Username: "admin", Password: testPassword})
	secure := func(own *server.Options) {
		o.Host, o.Port, o.StoreDir, o.NoSigs, o.NoLog, o.SyncAlways = own.Host, own.Port, own.StoreDir, true, true, false
		o.LeafNode = server.LeafNodeOpts{} // its port is fixed
		*own = *o
	}
	n := &securedNATS{Server: natstest.Start(t, "", append([]func(*server.Options){secure}, change...)...), t: t}
	n.admin = n.JetStream(nats.UserInfo("admin", testPassword))
	return n
}

// permissionsOf is what docker-compose.yml lets a user do.
func permissionsOf(t *testing.T, user string) (all []string) {
	t.Helper()
	for _, u := range composeUsers(t).Users {
		if u.Username == user {
			all = append(all, u.Permissions.Publish.Allow...)
			all = append(all, u.Permissions.Subscribe.Allow...)
		}
	}
	if len(all) == 0 {
		t.Fatalf("no user %s", user)
	}
	return all
}

// eachAtOnce runs a subtest for each permission that is missing. They wait for
// answers that do not come, so there may be more of them than processors.
func eachAtOnce(t *testing.T, missing []string, test func(t *testing.T, without string)) {
	var group sync.WaitGroup
	for _, without := range missing {
		group.Go(func() {
			t.Run("without "+without, func(t *testing.T) { test(t, without) })
		})
	}
	group.Wait()
}

// TestBridgePermissions takes away each permission of the bridge in turn. With
// all of them it can do its work; without any one it says which one it needs.
func TestBridgePermissions(t *testing.T) {
	eachAtOnce(t, append([]string{"nothing"}, permissionsOf(t, "bridge")...), func(t *testing.T, without string) {
		problems := bridgeProblems(t, newSecuredNATS(t, "bridge", without))
		if without == "nothing" {
			if len(problems) > 0 {
				t.Errorf("with all permissions: %q", problems)
			}
			return
		}
		if len(problems) == 0 {
			t.Fatal("everything works: it is not needed")
		}
		subject := strings.TrimSuffix(without, ">")
		if !strings.Contains(problems[0], "permi") || !strings.Contains(problems[0], subject) {
			t.Errorf("the first problem is %q, want one that names the permission %s", problems[0], without)
		}
	})
}

// publishBatch publishes two events as one atomic batch.
func publishBatch(s bridge.Session, id string) error {
	var events []*bridge.Event
	for _, part := range []string{"a", "b"} {
		events = append(events, &bridge.Event{Source: "persat", ID: id + part, Type: "client.created", Accepted: time.Now(), Body: []byte("{}")})
	}
	end := make(chan error, 1)
	s.PublishBatch(events, func(_ []bridge.Receipt, err error) { end <- err })
	return <-end
}

// bridgeProblems does to NATS all that a bridge does there, and returns what it
// would tell its operator.
func bridgeProblems(t *testing.T, n *securedNATS) (problems []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	note := func(err error) {
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	session := func(id string) bridge.Session {
		p, err := publisher.New(publisher.Options{
			Connect:    publisher.ConnectOptions{URL: n.URL, User: "bridge", Password: testPassword},
			Stream:     publisher.StreamOptions{Name: "PERSAT", Manage: true, DuplicateWindow: time.Minute},
			Prefixes:   map[string]string{"persat": "persat"},
			AckTimeout: 2 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.Connect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err = s.Stream(attempt)
		if !errors.Is(err, bridge.ErrNoStream) {
			note(err)
		}
		receipt, err := publishOne(s, &bridge.Event{Source: "persat", ID: id, Type: "client.created", Accepted: time.Now(), Body: []byte("{}")})
		note(err)
		if err == nil {
			attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			_, err := s.Message(attempt, receipt.Sequence)
			note(err)
			note(publishBatch(s, id))
			_, err = s.(bridge.ConsumerLister).Consumers(attempt)
			note(err)
		}
		return s
	}

	session("msg_1").Close() // makes the stream

	// Somebody takes the subjects of the bridge out of the stream: they come back.
	stream, err := n.admin.Stream(ctx, "PERSAT")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return problems
	}
	if err != nil {
		t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	c.Subjects = []string{"other.>"}
	if _, err := n.admin.UpdateStream(ctx, c); err != nil {
		t.Fatal(err)
	}
	session("msg_2").Close()
	return problems
}

// TestConsumerPermissions does the same for a downstream service, which is not
// ours: what it lacks, the server says.
func TestConsumerPermissions(t *testing.T) {
	eachAtOnce(t, append([]string{"nothing"}, permissionsOf(t, "consumer")...), func(t *testing.T, without string) {
		var change []func(*server.Options)
		if without == ackPermissionV2 {
			change = append(change, ackSubjectsV2)
		}
		violations, err := consume(t, newSecuredNATS(t, "consumer", without, change...))
		if without == "nothing" {
			if err != nil {
				t.Errorf("with all permissions: %v", err)
			}
			return
		}
		if err == nil {
			t.Error("everything works: it is not needed")
		}
		if !slices.ContainsFunc(violations, func(subject string) bool { return server.SubjectMatchesFilter(subject, without) }) {
			t.Errorf("%v; the server complains of %q, want %s", err, violations, without)
		}
	})
}

// consume reads as a service with a durable consumer does, and as a tool that
// looks at the stream in passing.
func consume(t *testing.T, n *securedNATS) (violations []string, _ error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	fill(t, ctx, n)
	nc, denied := n.consumer()
	defer nc.Close()
	err := func() error {
		js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(2*time.Second))
		if err != nil {
			return err
		}
		attempt, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		stream, err := js.Stream(attempt, "PERSAT")
		if err != nil {
			return fmt.Errorf("look up stream: %w", err)
		}
		if _, err := stream.CreateOrUpdateConsumer(attempt, jetstream.ConsumerConfig{Durable: "billing", FilterSubject: "persat.client.>"}); err != nil {
			return fmt.Errorf("create consumer: %w", err)
		}
		consumer, err := stream.Consumer(attempt, "billing")
		if err != nil {
			return fmt.Errorf("look up consumer: %w", err)
		}
		m, err := consumer.Next(jetstream.FetchMaxWait(2 * time.Second))
		if err != nil {
			return fmt.Errorf("ask for a message: %w", err)
		}
		if err := m.DoubleAck(attempt); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
		ordered, err := stream.OrderedConsumer(attempt, jetstream.OrderedConsumerConfig{})
		if err != nil {
			return fmt.Errorf("create ordered consumer: %w", err)
		}
		if _, err := ordered.Next(jetstream.FetchMaxWait(2 * time.Second)); err != nil {
			return fmt.Errorf("read in order: %w", err)
		}
		return nil
	}()
	return denied(), err
}

func fill(t *testing.T, ctx context.Context, n *securedNATS) {
	t.Helper()
	if _, err := n.admin.CreateStream(ctx, jetstream.StreamConfig{Name: "PERSAT", Subjects: []string{"persat.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.admin.Publish(ctx, "persat.client.created", []byte("{}")); err != nil {
		t.Fatal(err)
	}
}

// consumer connects as the downstream service; denied are the subjects that the
// server has refused it so far.
func (n *securedNATS) consumer() (nc *nats.Conn, denied func() []string) {
	n.t.Helper()
	var mu sync.Mutex
	var all []string
	nc, err := nats.Connect(n.URL, nats.UserInfo("consumer", testPassword), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if parts := strings.Split(err.Error(), `"`); len(parts) > 1 {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, parts[1])
		}
	}))
	if err != nil {
		n.t.Fatal(err)
	}
	return nc, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// TestConsumerChangesNothing tries what a downstream service must not be able to.
func TestConsumerChangesNothing(t *testing.T) {
	n := newSecuredNATS(t, "", "")
	ctx := t.Context()
	fill(t, ctx, n)
	if _, err := n.admin.CreateConsumer(ctx, "PERSAT", jetstream.ConsumerConfig{Durable: "billing"}); err != nil {
		t.Fatal(err)
	}
	nc, denied := n.consumer()
	defer nc.Close()
	// Requests that the server does not let through are not answered: it is its
	// complaint that is waited for.
	for _, subject := range []string{
		"persat.client.created", "other.subject",
		"$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.UPDATE.PERSAT", "$JS.API.STREAM.DELETE.PERSAT", "$JS.API.STREAM.PURGE.PERSAT",
		"$JS.API.STREAM.MSG.DELETE.PERSAT", "$JS.API.STREAM.SNAPSHOT.PERSAT", "$JS.API.CONSUMER.DELETE.PERSAT.billing", "$JS.API.CONSUMER.PAUSE.PERSAT.billing",
		"$JS.API.CONSUMER.CREATE.OTHER.mine", "$JS.API.STREAM.INFO.OTHER", "_INBOX.persat-bridge.forged",
	} {
		if err := nc.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(denied(), subject) {
			testwait.Eventually(t, "the server refuses "+subject, func() bool { return slices.Contains(denied(), subject) })
		}
	}
	stream, err := n.admin.Stream(ctx, "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State; got.Msgs != 1 || got.Consumers != 1 {
		t.Errorf("the stream has %d messages and %d consumers, want 1 and 1 as before", got.Msgs, got.Consumers)
	}
}
