package publisher

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/nats-io/jsm.go/natscontext"
	"github.com/nats-io/nats.go"
)

// LoadContext reads a context of the nats CLI. It refuses one that sets what could not be
// used here, by name: dropped without a word, jetstream_domain let events land in another
// JetStream than that of every nats command. What it has for people only (description,
// color_scheme) and for readers of advisories (jetstream_event_prefix) has no bearing here.
func LoadContext(name string) (*natscontext.Context, error) {
	c, err := natscontext.New(name, true)
	if errors.Is(err, natscontext.ErrNotFound) {
		return nil, fmt.Errorf("%w: 'nats context ls' lists those there are", err)
	}
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("context %q: %w", name, err)
	}
	for _, rule := range []struct {
		broken bool
		text   string
	}{
		{c.JSDomain() != "" && c.JSAPIPrefix() != "", "sets jetstream_domain and jetstream_api_prefix: only one of them can hold"},
		{c.Password() != "" && c.User() == "", "sets password without user"},
		{c.UserSeed() != "" && c.UserJWT() == "", "sets user_seed without user_jwt"},
		{(c.Certificate() == "") != (c.Key() == ""), "sets one of cert and key: they go together"},
	} {
		if rule.broken {
			return nil, fmt.Errorf("context %q %s", name, rule.text)
		}
	}
	if unknown, err := unknownSettings(c); err != nil {
		return nil, fmt.Errorf("context %q: %w", name, err)
	} else if len(unknown) > 0 {
		return nil, fmt.Errorf("context %q sets %q, which is not known here: remove it, or use the keys under nats", name, unknown[0])
	}
	return c, nil
}

// unknownSettings are those of the file that a newer nats CLI may have and this library
// drops, where they have a value.
func unknownSettings(c *natscontext.Context) ([]string, error) {
	settings := func(text []byte, err error) (map[string]any, error) {
		var m map[string]any
		return m, errors.Join(err, json.Unmarshal(text, &m))
	}
	file, err := settings(os.ReadFile(c.Path()))
	if err != nil {
		return nil, err
	}
	known, err := settings(c.MarshalJSON())
	if err != nil {
		return nil, err
	}
	known["name"] = nil // left out where it is empty
	maps.DeleteFunc(file, func(key string, value any) bool {
		_, ok := known[key]
		list, _ := value.([]any)
		return ok || value == nil || value == "" || value == false || list != nil && len(list) == 0
	})
	return slices.Sorted(maps.Keys(file)), nil
}

// withContext are the options with what their context says; what is set beside it wins.
// auth has the credentials.
func (o ConnectOptions) withContext() (_ ConnectOptions, auth []nats.Option, err error) {
	if o.Context == "" {
		return o, nil, nil
	}
	c, err := LoadContext(o.Context)
	if err != nil {
		return o, nil, err
	}
	if auth, err = c.NATSOptions(); err != nil {
		return o, nil, fmt.Errorf("context %q: %w", o.Context, err)
	}
	o.URL = cmp.Or(o.URL, c.ServerURL())
	o.SOCKSProxy = cmp.Or(o.SOCKSProxy, c.SocksProxy())
	if o.Domain == "" && o.APIPrefix == "" {
		o.Domain, o.APIPrefix = c.JSDomain(), c.JSAPIPrefix()
	}
	return o, auth, nil
}
