package publisher

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// consumerFilters is the part of a consumer that says which messages it gets.
type consumerFilters struct {
	Name   string `json:"name"`
	Config struct {
		Subject  string   `json:"filter_subject"`
		Subjects []string `json:"filter_subjects"`
	} `json:"config"`
}

// filters finds consumers that get no event any more since the subjects of a source have
// the entity, or have it no more. Switching that changes every subject, and NATS tells no
// consumer that its filter matches nothing.
func (c *check) filters(ctx context.Context, info *jetstream.StreamInfo) {
	if info.State.Consumers == 0 {
		return
	}
	consumers, ok := c.consumers(ctx)
	if !ok {
		if len(c.p.o.EntityTokens) > 0 {
			c.say(Note, "the NATS user may not use %s, so consumers whose filters do not match subjects with an entity cannot be seen from here: persat.workorder.closed has to become persat.workorder.closed.*", c.api.subject(askConsumers+info.Config.Name))
		}
		return
	}
	for _, source := range slices.Sorted(maps.Keys(c.p.o.Prefixes)) {
		fine := true
		for _, consumer := range consumers {
			for _, filter := range slices.Concat([]string{consumer.Config.Subject}, consumer.Config.Subjects) {
				if better := c.p.o.betterFilter(source, filter); better != "" {
					fine = false
					c.say(Warning, "consumer %s has the filter %s, which no new event of source %s matches: its subjects %s (sources.%s.subject): change the filter to %s",
						consumer.Name, filter, source, map[bool]string{true: "end with the entity", false: "end with the type"}[c.p.o.EntityTokens[source] != nil], source, better)
				}
			}
		}
		if fine && c.p.o.EntityTokens[source] != nil {
			c.say(OK, "the filters of its consumers match subjects with the entity, as those of source %s are", source)
		}
	}
}

// askConsumers is a request of JetStream's API.
const askConsumers = "CONSUMER.LIST."

// consumers lists those of the stream. It returns false when the user may not ask.
func (c *check) consumers(ctx context.Context) (all []consumerFilters, ok bool) {
	for {
		var page struct {
			Total     int               `json:"total"`
			Consumers []consumerFilters `json:"consumers"`
		}
		if !c.learn(ctx, askConsumers+c.p.o.Stream.Name, fmt.Appendf(nil, `{"offset":%d}`, len(all)), &page) {
			return nil, false
		}
		all = append(all, page.Consumers...)
		if len(page.Consumers) == 0 || len(all) >= page.Total {
			return all, true
		}
	}
}

// betterFilter is the filter to use in place of one that matches events of source only
// under subjects of the other form; "" where there is nothing to change.
func (o *Options) betterFilter(source, filter string) string {
	if filter == "" {
		return ""
	}
	withType, withEntity := false, false
	for _, t := range o.Types {
		subject := o.Prefixes[source] + "." + t
		withType = withType || server.SubjectsCollide(filter, subject)
		withEntity = withEntity || server.SubjectsCollide(filter, subject+".*")
	}
	switch byEntity := o.EntityTokens[source] != nil; {
	case withType == withEntity, byEntity == withEntity:
		return ""
	case byEntity:
		return filter + ".*"
	}
	return filter[:strings.LastIndexByte(filter, '.')]
}
