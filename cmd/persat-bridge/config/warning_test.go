package config

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWarnings(t *testing.T) {
	const auth = "sources: {persat: {secrets: [" + secret + "]}}\n"
	for name, c := range map[string]struct {
		text    string
		environ []string
		want    []string
	}{
		"everyone is the sender": {
			text: "sources: {persat: {auth: none}}\n",
			want: []string{"sources.persat.auth: none: whoever reaches the listener can send events as this source"},
		},
		"a secret somebody made up": {
			text: "sources: {persat: {secrets: [c2hvcnQ=]}}\n",
			want: []string{"sources.persat.secrets[0]: the secret is shorter than the 24 bytes that Standard Webhooks asks for: was it copied whole? If it was, it may be guessed"},
		},
		"shorter than the sender repeats": {
			text: auth + "journal: {retention: 24h, dedup_window: 2h}\n",
			want: []string{
				"journal.retention: 24h0m0s is shorter than the 28 h that the sender repeats for: a stream that lost its tail may be refilled in part",
				"journal.dedup_window: 2h0m0s is shorter than the 28 h that the sender repeats for: late repeats count as new events",
			},
		},
		"bodies NATS advises against": {
			text: auth + "nats: {url: nats.example.com}\nserver: {max_body_bytes: 16MiB}\n",
			want: []string{"server.max_body_bytes: 16MiB is more than the 8 MB that NATS advises to stay below; its max_payload has to be raised too"},
		},
		"an open embedded server": {
			text: auth + "nats: {embedded: {listen: ':4222'}}\n",
			want: []string{"nats.embedded.listen: :4222 is not a loopback address, and the embedded server has no authentication: whoever reaches it can read and write events"},
		},
		"credentials, and the address forgotten": {
			text: auth, environ: []string{"NATS_TOKEN=t"},
			want: []string{"nats.url: empty, so the embedded server is used: the credentials and TLS files under nats are not"},
		},
		"a slip in a variable": {
			text: auth, environ: []string{"PERSAT_BRIDGE_JOURNAL_RETENTON=1h", "PERSAT_BRIDGE_COLOUR=red", "PERSAT_BRIDGE_SOURCES_FIELD_AUTH=none"},
			want: []string{
				"PERSAT_BRIDGE_COLOUR: the variable sets no key",
				"PERSAT_BRIDGE_JOURNAL_RETENTON: the variable sets no key: did you mean PERSAT_BRIDGE_JOURNAL_RETENTION?",
				"PERSAT_BRIDGE_SOURCES_FIELD_AUTH: the variable sets no key",
			},
		},
		"compose passes variables that are empty": {
			text: auth, environ: []string{"PERSAT_BRIDGE_NATS_EMBEDDED_LISTEN=", "PERSAT_BRIDGE_LOG_LEVEL=", "PERSAT_BRIDGE_COLOUR=", "NATS_URL=", "PERSAT_WEBHOOK_SECRET="},
			want: []string{
				"PERSAT_BRIDGE_COLOUR: the variable sets no key",
				"PERSAT_BRIDGE_LOG_LEVEL: empty, and so ignored: an empty value can only be set in the file",
				"PERSAT_BRIDGE_NATS_EMBEDDED_LISTEN: empty, and so ignored: an empty value can only be set in the file",
			},
		},
		"a token to be guessed": {
			text: auth + "admin: {listen: ':8081', token: abc}\n",
			want: []string{`admin.token: shorter than 16 characters, and admin.listen ":8081" is not a loopback address: it may be guessed, by who can then read, discard and replay events`},
		},
		"a token to be guessed, by who is here already": {
			text: auth + "admin: {token: abc}\n",
		},
		"what Kubernetes makes for a Service called persat-bridge": {
			text: auth, environ: []string{
				"PERSAT_BRIDGE_SERVICE_HOST=192.0.2.1", "PERSAT_BRIDGE_SERVICE_PORT=8080", "PERSAT_BRIDGE_SERVICE_PORT_HTTP=8080",
				"PERSAT_BRIDGE_PORT=tcp://192.0.2.1:8080", "PERSAT_BRIDGE_PORT_8080_TCP=tcp://192.0.2.1:8080", "PERSAT_BRIDGE_PORT_8080_TCP_ADDR=192.0.2.1",
				"PERSAT_BRIDGE_ADMIN_SERVICE_HOST=192.0.2.2", "PERSAT_BRIDGE_ADMIN_PORT_8081_TCP_PROTO=tcp", "NATS_PORT=tcp://192.0.2.3:4222", "PATH=/bin",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, warnings := load(t, c.text, c.environ...)
			var got []string
			for _, w := range warnings {
				got = append(got, w.String())
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
