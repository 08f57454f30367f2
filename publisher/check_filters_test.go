package publisher

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// A switch between subjects with and without the entity silences consumers whose filters
// fit the other form: check names each with the filter that it needs.
func TestCheckFilters(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		filter   string
		byType   string // the filter to use when subjects end with the type, "" for none
		byEntity string
	}{
		{filter: ""},
		{filter: "persat.>"},
		{filter: "persat.workorder.>"},
		{filter: "persat.workorder.closed", byEntity: "persat.workorder.closed.*"},
		{filter: "persat.workorder.*", byEntity: "persat.workorder.*.*"},
		{filter: "persat.*.*", byEntity: "persat.*.*.*"},
		{filter: "persat.workorder.closed.*", byType: "persat.workorder.closed"},
		{filter: "persat.workorder.closed.>", byType: "persat.workorder.closed"},
		{filter: "persat.*.*.48", byType: "persat.*.*"},
		{filter: "acme.workorder.closed"},
		{filter: "persat.unheard.of.at.all"},
	} {
		for byEntity, want := range map[bool]string{false: test.byType, true: test.byEntity} {
			o := optionsFor("")
			o.Types = []string{"workorder.closed", "client.created"}
			if byEntity {
				o.EntityTokens = map[string]func([]string) string{"persat": func([]string) string { return "48" }}
			}
			if got := o.betterFilter("persat", test.filter); got != want {
				t.Errorf("filter %q, by entity %v: got %q, want %q", test.filter, byEntity, got, want)
			}
		}
	}
}

// The consumers are those of the stream, also when there are more than one answer has.
func TestCheckNamesConsumersToChange(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	js := n.JetStream()
	makeStream(t, js, plain())
	const others = 260 // an answer has 256
	for i := range others {
		if _, err := js.CreateConsumer(t.Context(), "PERSAT", jetstream.ConsumerConfig{Durable: fmt.Sprint("fine-", i), FilterSubject: "persat.>"}); err != nil {
			t.Fatal(err)
		}
	}
	for name, filters := range map[string][]string{"billing": {"persat.workorder.closed"}, "zebra": {"persat.client.>", "persat.workorder.*"}} {
		if _, err := js.CreateConsumer(t.Context(), "PERSAT", jetstream.ConsumerConfig{Durable: name, FilterSubjects: filters}); err != nil {
			t.Fatal(err)
		}
	}
	o := optionsFor(n.URL)
	o.Types = []string{"workorder.closed", "client.created"}
	check := func() (warnings []string) {
		t.Helper()
		for _, f := range Check(t.Context(), o, 1000) {
			if f.Level != OK {
				warnings = append(warnings, f.Level+": "+f.Text)
			}
		}
		slices.Sort(warnings)
		return warnings
	}
	if got := check(); len(got) > 0 {
		t.Errorf("by type: got %q", got)
	}
	o.EntityTokens = map[string]func([]string) string{"persat": func([]string) string { return "48" }}
	want := []string{
		"warning: consumer billing has the filter persat.workorder.closed, which no new event of source persat matches: its subjects end with the entity (sources.persat.subject): change the filter to persat.workorder.closed.*",
		"warning: consumer zebra has the filter persat.workorder.*, which no new event of source persat matches: its subjects end with the entity (sources.persat.subject): change the filter to persat.workorder.*.*",
	}
	if got := check(); !slices.Equal(got, want) {
		t.Errorf("by entity: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
