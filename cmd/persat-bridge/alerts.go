package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/bridge/alert"
	"github.com/persat-bridge/persat-bridge/bridge/pull"
	"github.com/persat-bridge/persat-bridge/bridge/webhook"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/notify"
)

// receivers are the services that the configuration names.
func receivers(cfg *config.Config) (services []alert.Receiver) {
	for i, url := range cfg.Alerts.URLs {
		services = append(services, notify.New("alerts.urls["+strconv.Itoa(i)+"]", url.Reveal()))
	}
	return services
}

// newAlerter makes what tells people; nil when there is nobody to tell.
func newAlerter(a *app) (*alert.Alerter, error) {
	services := receivers(a.cfg)
	if len(services) == 0 {
		return nil, nil
	}
	return alert.New(alert.Options{
		Receivers: services, Look: a.alertState, Language: a.cfg.Alerts.Language, Bridge: hostName(), Link: a.cfg.Admin.URL,
		After: a.cfg.Alerts.After, Repeat: a.cfg.Alerts.Repeat, Silence: a.cfg.Alerts.Silence, Memory: a.journal, Notice: a.bridge.Notice, Log: a.log,
	})
}

// hostName tells bridges apart in alerts.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// alertState is what alerts are derived from.
func (a *app) alertState() alert.State {
	s := alert.State{Status: a.bridge.Status(context.Background()), Counters: a.alertCounters(), Stream: a.stream.seen.Load()}
	if a.certificate != nil {
		s.CertificateExpires = a.certificate.notAfter()
	}
	for _, p := range a.pullers {
		if status := p.Status(); status.State == pull.StateFailing || status.State == pull.StateHeld {
			s.Pulls = append(s.Pulls, alert.FailingPull{Source: status.Source, Since: status.Since, Reason: status.Text})
		}
	}
	return s
}

var (
	// unauthentic are the reasons of requests that are not authentic, and overloads those
	// of requests that were too many at once.
	unauthentic = []webhook.Reason{webhook.MissingSignature, webhook.MalformedSignature, webhook.WrongSignature, webhook.BadTimestamp, webhook.WrongCredentials, webhook.MissingCredentials}
	overloads   = []webhook.Reason{webhook.TooManyInFlight, webhook.TooManyReading, webhook.NoBodyMemory}
)

// alertCounters reads what Prometheus reads, so that alerts and rules tell the same story.
func (a *app) alertCounters() alert.Counters {
	c := alert.Counters{Unauthentic: make(map[string]float64), Taken: make(map[string]float64), AcceptDuration: make(map[float64]uint64)}
	families, err := a.registry.Gather()
	if err != nil && len(families) == 0 {
		return c // what is wrong with the metrics, /metrics says
	}
	label := func(m *dto.Metric, name string) string {
		for _, l := range m.GetLabel() {
			if l.GetName() == name {
				return l.GetValue()
			}
		}
		return ""
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			n := m.GetCounter().GetValue()
			switch f.GetName() {
			case "persat_bridge_rejected_total":
				reason := webhook.Reason(label(m, "reason"))
				if slices.Contains(unauthentic, reason) {
					c.Unauthentic[label(m, "source")] += n
				}
				if slices.Contains(overloads, reason) {
					c.Overloaded += n
				}
			case "persat_bridge_accepted_total", "persat_bridge_duplicates_total":
				c.Taken[label(m, "source")] += n
			case "persat_bridge_healed_events_total":
				c.Healed += n
			case "persat_bridge_accept_duration_seconds":
				for _, b := range m.GetHistogram().GetBucket() {
					c.AcceptDuration[b.GetUpperBound()] += b.GetCumulativeCount()
				}
				c.AcceptDuration[math.Inf(1)] += m.GetHistogram().GetSampleCount()
			}
		}
	}
	return c
}

func (p *program) alertsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "alerts test",
		Short: "Test the services that alerts are sent to",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("say what to do: alerts test")}
		},
	}
	test := &cobra.Command{
		Use:   "test",
		Short: "Send one message to each service of alerts.urls, and say what became of it",
		Args:  noArgs,
	}
	file := configFlag(test)
	test.RunE = func(*cobra.Command, []string) error {
		cfg, _, err := p.loadWithoutSecrets(*file)
		if err != nil {
			return err
		}
		services := receivers(cfg)
		if len(services) == 0 {
			return usageError{errors.New("alerts.urls is empty: name a service there, such as slack://…, or smtp://…")}
		}
		failed := 0
		for _, service := range services {
			if err := service.Send(alert.Test(cfg.Alerts.Language, hostName(), cfg.Admin.URL)); err != nil {
				failed++
				fmt.Fprintf(p.stderr, "%s: %s\n", service.Name(), visibly(err.Error()))
				continue
			}
			fmt.Fprintf(p.stdout, "%s: sent\n", service.Name())
		}
		if failed > 0 {
			return fmt.Errorf("%d of %d services did not take the message", failed, len(services))
		}
		return nil
	}
	c.AddCommand(test)
	return c
}
