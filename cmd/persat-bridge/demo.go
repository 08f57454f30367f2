package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
	"github.com/persat-bridge/persat-bridge/publisher"
)

func (p *program) demoCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole way of every event, on nothing but this machine",
		Long: "Start a bridge with an embedded NATS, temporary data and a new secret, post one signed sample of every\n" +
			"catalogued event to it over HTTP, and show each one as a NATS subscriber receives it.",
		Args: noArgs,
	}
	keep := c.Flags().Bool("keep", false, "stay up afterwards and print what to try")
	c.RunE = func(c *cobra.Command, _ []string) error { return p.demo(c.Context(), *keep) }
	return c
}

// demoTimeout is how long an event may take to arrive before the demo says that
// it did not.
const demoTimeout = 20 * time.Second

func (p *program) demo(ctx context.Context, keep bool) (err error) {
	dir, err := os.MkdirTemp("", "persat-bridge-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	secret := newSecret()
	log, level, out, err := newLog(p.stderr, config.Log{Level: "warn", Format: "auto"})
	if err != nil {
		return err
	}
	defer out.Close()
	a, err := newApp(ctx, demoConfig(dir, secret), log, level)
	if err != nil {
		return err
	}
	appCtx, stop := context.WithCancel(ctx)
	defer stop()
	end := ended(func() error { return a.run(appCtx) })

	shown := p.show(ctx, a, secret)
	if shown == nil && keep {
		p.invite(a, secret)
		select {
		case <-ctx.Done():
			fmt.Fprintln(p.stdout, "\nstopping, and removing its data")
		case err := <-end:
			return err
		}
	}
	stop()
	return errors.Join(shown, <-end)
}

func newSecret() string {
	key := make([]byte, 24)
	_, _ = rand.Read(key) // never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

// demoConfig is the default configuration on free ports and temporary data. It
// takes nothing from the environment: a NATS_URL there must not get the samples.
func demoConfig(dir, secret string) *config.Config {
	cfg := config.Default()
	cfg.Server.Listen = "127.0.0.1:0"
	cfg.Admin.Listen = "127.0.0.1:0"
	cfg.Journal.Dir = filepath.Join(dir, "journal")
	cfg.NATS.Embedded.Listen = "127.0.0.1:0"
	cfg.NATS.Embedded.StoreDir = filepath.Join(dir, "nats")
	source := cfg.Sources["persat"]
	source.Secrets = []config.Secret{config.Secret(secret)}
	cfg.Sources["persat"] = source
	return cfg
}

// show posts every sample and prints what the subscriber gets.
func (p *program) show(ctx context.Context, a *app, secret string) error {
	paint := newStyle(p.stdout, p.getenv)
	nc, err := publisher.Dial(ctx, publisher.ConnectOptions{URL: a.embedded.URL(), Name: "persat-bridge demo subscriber"})
	if err != nil {
		return err
	}
	defer nc.Close()
	type arrival struct {
		m  *nats.Msg
		at time.Time
	}
	arrivals := make(chan arrival, 64)
	if _, err := nc.Subscribe("persat.>", func(m *nats.Msg) { arrivals <- arrival{m, time.Now()} }); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	s := newSender(a.webhookURL("persat"), secret, 1)
	defer s.close()

	fmt.Fprintf(p.stdout, "%s\n\n", paint.paint(bold, "persat-bridge demo: POST → journal (fsync) → 2xx → NATS JetStream → subscriber"))
	fmt.Fprintf(p.stdout, "%s\n", paint.paint(faint, demoRow("received on subject", "answer", "POST→2xx", "POST→NATS", "bytes", "entity")))
	var toAnswer, toNATS []time.Duration
	var first struct {
		id   string
		body []byte
	}
	for _, entry := range persat.Catalogue() {
		eventType := entry.Type
		body, err := persat.Sample(eventType, "")
		if err != nil {
			return err
		}
		id := newDeliveryID()
		begin := time.Now()
		answer, err := s.post(ctx, id, body)
		if err != nil {
			return fmt.Errorf("post %s: %w", eventType, err)
		}
		if !answer.ok() {
			return fmt.Errorf("post %s: %d %s", eventType, answer.code, answer.Error)
		}
		var got arrival
		select {
		case got = <-arrivals:
		case <-time.After(demoTimeout):
			return fmt.Errorf("%s was accepted and did not arrive on NATS within %s", eventType, demoTimeout)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if got.m.Subject != "persat."+eventType || !bytes.Equal(got.m.Data, body) || got.m.Header["ce-id"][0] != id {
			return fmt.Errorf("posted %s %s, received %s %v", eventType, id, got.m.Subject, got.m.Header["ce-id"])
		}
		if first.id == "" {
			first.id, first.body = id, body
		}
		arrived := got.at.Sub(begin)
		toAnswer, toNATS = append(toAnswer, answer.took), append(toNATS, arrived)
		entity := ""
		if h := got.m.Header["ce-subject"]; len(h) > 0 {
			entity = h[0]
		}
		subject := got.m.Subject
		if entry.Assumed {
			subject += "*"
		}
		fmt.Fprintln(p.stdout, demoRow(subject, paint.paint(green, fmt.Sprintf("%6d", answer.code)), millis(answer.took), millis(arrived), fmt.Sprint(len(got.m.Data)), entity))
	}
	fmt.Fprintf(p.stdout, "%s\n\n", paint.paint(faint, "* name assumed: no document gives the type of this event; it may arrive under another"))
	again, err := s.post(ctx, first.id, first.body)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "the first one sent again     %s %s\n", paint.paint(green, fmt.Sprint(again.code)), again.Status)
	forger := newSender(s.url, newSecret(), 1)
	defer forger.close()
	forged, err := forger.post(ctx, newDeliveryID(), first.body)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "one with a forged signature  %s %s\n\n", paint.paint(red, fmt.Sprint(forged.code)), forged.Error)
	if again.code != 200 || forged.code != 401 || len(arrivals) != 0 {
		return fmt.Errorf("the repeat was answered %d, the forgery %d, and %d more messages came; want 200, 401 and none", again.code, forged.code, len(arrivals))
	}
	slices.Sort(toAnswer)
	slices.Sort(toNATS)
	fmt.Fprintf(p.stdout, "%s\nMedians: 2xx after %s, at the subscriber after %s.\n",
		paint.paint(bold, fmt.Sprintf("%d events accepted, %d received, byte for byte.", len(toAnswer), len(toNATS))), millis(quantile(toAnswer, .5)), millis(quantile(toNATS, .5)))
	return nil
}

// demoRow is a line of the demo's table: with the longest subject and an entity of
// Persat's, no wider than the narrowest terminal.
func demoRow(subject, answer, toAnswer, toNATS, bytes, entity string) string {
	return fmt.Sprintf("%-31s %6s %9s %9s %6s  %s", subject, answer, toAnswer, toNATS, bytes, entity)
}

// invocation is how this program is started: by its path, or, when 'go run' built
// it for this once, by that.
func invocation() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/persat-bridge"
	}
	return os.Args[0]
}

// invite says what to try while the demo stays up.
func (p *program) invite(a *app, secret string) {
	url, nats := a.webhookURL("persat"), a.embedded.URL()
	fmt.Fprintf(p.stdout, `
It stays up; Ctrl-C ends it and removes its data.

  webhooks     %[1]s
  status page  http://%[2]s   (and /readyz, /metrics)
  NATS         %[3]s

In another terminal, send more:
  %[4]s send --all --url %[1]s --secret %[5]s
watch them arrive:
  NATS_URL=%[3]s %[4]s tail
the same with the nats command, and what the stream keeps:
  nats sub 'persat.>' -s %[3]s
  nats stream view PERSAT -s %[3]s
see it refuse:
  curl -i -d '{}' %[1]s
`, url, a.operators.Addr(), nats, invocation(), secret)
}
