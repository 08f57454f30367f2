package main

import (
	"regexp"
	"slices"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// The permissions to acknowledge, by the version of the acknowledgement's subject.
const (
	ackPermissionV1 = "$JS.ACK.PERSAT.>"
	ackPermissionV2 = "$JS.ACK.*.*.PERSAT.>"
)

// ackSubjectsV2 switches on subjects of acknowledgements that name domain and account.
func ackSubjectsV2(o *server.Options) {
	o.FeatureFlags = map[string]bool{server.FeatureFlagJsAckFormatV2: true}
}

// A downstream service acknowledges on servers with either form of the subject, and it
// needs the permission for that form. An operator who switched the form on found that
// consumers whose users had the old permission alone got everything again for ever.
func TestAcknowledgementPermissions(t *testing.T) {
	for _, test := range []struct {
		name    string
		v2      bool
		without string
		works   bool
	}{
		{"version 1 with both", false, "", true},
		{"version 1 without its own", false, ackPermissionV1, false},
		{"version 1 without the other", false, ackPermissionV2, true},
		{"version 2 with both", true, "", true},
		{"version 2 without its own", true, ackPermissionV2, false},
		{"version 2 without the other", true, ackPermissionV1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var change []func(*server.Options)
			if test.v2 {
				change = append(change, ackSubjectsV2)
			}
			violations, err := consume(t, newSecuredNATS(t, "consumer", test.without, change...))
			if works := err == nil; works != test.works {
				t.Errorf("it works: %v, want %v: %v; the server complains of %q", works, test.works, err, violations)
			}
		})
	}
}

// The list of docs/nats-permissions.md is that of permissions.conf, and what is optional there.
func TestDocumentedPermissions(t *testing.T) {
	want := slices.Concat(permissionsOf(t, "bridge"), permissionsOf(t, "consumer"), []string{resetPermission})
	slices.Sort(want)
	want = slices.Compact(want)
	var got []string
	row := regexp.MustCompile("(?m)^\\| `((?:\\$JS|_INBOX|persat)\\.\\S+)` \\|")
	for _, m := range row.FindAllStringSubmatch(readDocument(t, "../../docs/nats-permissions.md"), -1) {
		got = append(got, m[1])
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("got permissions\n%q, want\n%q", got, want)
	}
}
