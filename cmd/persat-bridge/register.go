package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persat-bridge/persat-bridge/bridge/autoconfig"
)

type registerOptions struct {
	url    string
	token  string
	types  []string
	check  bool
	yes    bool
	asJSON bool
}

func (p *program) registerCommand() *cobra.Command {
	var o registerOptions
	c := &cobra.Command{
		Use:   "register --url https://…/webhooks/persat",
		Short: "Set the sender's endpoint to this bridge, with an AutoConfig token",
		Long: "Set the URL and the event types of an endpoint, and show what they were. The AutoConfig token (auto_v1_…, from the\n" +
			"sender's portal) says which endpoint. One that delivers elsewhere is changed with --yes only.\n" +
			"Exit code 1 when it cannot be read or set, or, with --check, when it differs.",
		Example: "  persat-bridge register --url https://hooks.example.com/webhooks/persat\n  persat-bridge register --url https://hooks.example.com/webhooks/persat --check",
		Args:    noArgs,
	}
	f := c.Flags()
	f.StringVar(&o.url, "url", "", "where the sender has to post")
	f.StringVar(&o.token, "token", "", "AutoConfig token, auto_v1_… (default: the first one in $PERSAT_WEBHOOK_SECRET)")
	f.StringSliceVar(&o.types, "type", nil, "event types to deliver, with commas between (default: all)")
	f.BoolVar(&o.check, "check", false, "compare only")
	f.BoolVar(&o.yes, "yes", false, "change an endpoint that delivers elsewhere")
	f.BoolVar(&o.asJSON, "json", false, "print the settings before and after as JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		token, err := o.parse(p.getenv)
		if err != nil {
			return usageError{err}
		}
		return p.register(c.Context(), o, token)
	}
	return c
}

func (o *registerOptions) parse(getenv func(string) string) (autoconfig.Token, error) {
	u, err := url.Parse(o.url)
	switch {
	case o.url == "":
		return autoconfig.Token{}, errors.New("--url: missing: write it like https://bridge.example.com/webhooks/persat")
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return autoconfig.Token{}, errors.New("--url: not an address: write it like https://bridge.example.com/webhooks/persat")
	case !strings.Contains(u.Path, "/webhooks/"):
		return autoconfig.Token{}, errors.New("--url: the path is not that of a source: it ends in /webhooks/persat")
	}
	origin, text := "--token", o.token
	if text == "" {
		origin = "PERSAT_WEBHOOK_SECRET"
		for one := range strings.SplitSeq(getenv(origin), ",") {
			if one = strings.TrimSpace(one); autoconfig.IsToken(one) {
				text = one
				break
			}
		}
	}
	if text == "" {
		return autoconfig.Token{}, errors.New("--token: missing, and PERSAT_WEBHOOK_SECRET holds no AutoConfig token (auto_v1_…): copy one from the sender's portal")
	}
	token, err := autoconfig.Parse(text)
	if err != nil {
		return token, fmt.Errorf("%s: %w", origin, err)
	}
	return token, nil
}

// registered is what --json prints.
type registered struct {
	Endpoint string               `json:"endpoint"`
	Before   autoconfig.Settings  `json:"before"`
	After    *autoconfig.Settings `json:"after,omitempty"`
	Same     bool                 `json:"same"`
}

func (p *program) register(ctx context.Context, o registerOptions, token autoconfig.Token) error {
	client := autoconfig.NewClient(token, nil)
	before, err := client.Get(ctx)
	if err != nil {
		return err
	}
	want := autoconfig.Settings{URL: o.url, Types: o.types}
	result := registered{Endpoint: token.Endpoint, Before: before, Same: before.URL == want.URL && sameTypes(before.Types, want.Types) && !before.Disabled}
	if !o.asJSON {
		fmt.Fprintf(p.stdout, "%s\n  before  %s\n", token, settingsText(before))
	}
	switch {
	case result.Same:
		if !o.asJSON {
			fmt.Fprintln(p.stdout, "  nothing to change")
		}
	case o.check:
		if !o.asJSON {
			fmt.Fprintf(p.stdout, "  wanted  %s\n", settingsText(want))
		}
	case before.URL != "" && before.URL != want.URL && !o.yes:
		return fmt.Errorf("the endpoint delivers to %s: to send its events to %s from now on, add --yes", before.URL, want.URL)
	default:
		if err := client.Set(ctx, want); err != nil {
			return err
		}
		after, err := client.Get(ctx)
		if err != nil {
			return err
		}
		result.After = &after
		if !o.asJSON {
			fmt.Fprintf(p.stdout, "  now     %s\n", settingsText(after))
		}
		if after.URL != want.URL || !sameTypes(after.Types, want.Types) {
			return errors.Join(errors.New("the sender took the settings and shows others: look at the endpoint in its portal"), p.printedJSON(o.asJSON, result))
		}
		if after.Disabled {
			fmt.Fprintln(p.stderr, "warning: the endpoint is disabled: enable it in the sender's portal")
		}
	}
	if err := p.printedJSON(o.asJSON, result); err != nil {
		return err
	}
	if o.check && !result.Same {
		return errQuiet
	}
	return nil
}

func (p *program) printedJSON(wanted bool, v any) error {
	if !wanted {
		return nil
	}
	return p.printJSON(v)
}

func settingsText(s autoconfig.Settings) string {
	where, types, disabled := s.URL, "all event types", ""
	if where == "" {
		where = "no URL"
	}
	if len(s.Types) > 0 {
		types = strings.Join(s.Types, ", ")
	}
	if s.Disabled {
		disabled = ", disabled"
	}
	return fmt.Sprintf("%s (%s%s)", visibly(where), visibly(types), disabled)
}

func sameTypes(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
