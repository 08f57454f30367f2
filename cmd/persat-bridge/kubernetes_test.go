package main

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A bridge runs with the configuration and the Secret of the Kubernetes manifest, and as a
// user of docker-compose.yml's NATS. It answers the probes and the PodMonitor without a
// token. As the manifest is written, its Secret is empty, and each value is named.
func TestKubernetesConfiguration(t *testing.T) {
	t.Parallel()
	var configuration string
	secrets, paths := make(map[string]string), make(map[string]bool)
	documents := yaml.NewDecoder(strings.NewReader(readDocument(t, "deploy/kubernetes/persat-bridge.yaml")))
	for {
		var d struct {
			Data       map[string]string
			StringData map[string]string `yaml:"stringData"`
			Spec       yaml.Node
		}
		if err := documents.Decode(&d); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		configuration += d.Data["config.yaml"]
		maps.Copy(secrets, d.StringData)
		scalars(&d.Spec, "path", paths)
	}
	if got, want := slices.Sorted(maps.Keys(paths)), []string{"/livez", "/metrics", "/readyz"}; !slices.Equal(got, want) {
		t.Errorf("Kubernetes asks for %v, want %v", got, want)
	}

	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	text := strings.NewReplacer("/secrets/", dir+"/", "/data/", dir+"/").Replace(configuration)
	writeFile(t, file, text)
	check := func() (int, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"check", "-c", file}, nil, strings.NewReader(""), &out, &errs)
		return code, out.String() + errs.String()
	}
	for name, value := range secrets {
		writeFile(t, filepath.Join(dir, name), value)
	}
	code, said := check()
	for _, key := range []string{"admin.token_file", "sources.persat.secrets", "nats.password_file"} {
		if code != exitUsage || strings.Count(said, key) != 1 || strings.Count(said, "\n") != len(secrets) {
			t.Errorf("with an empty Secret: got %d %s, want three mistakes, and one for %s", code, said, key)
		}
	}
	for name, value := range map[string]string{"webhook": testSecret, "nats-password": testPassword, "admin-token": strings.Repeat("token", 8)} {
		if _, ok := secrets[name]; !ok {
			t.Errorf("the Secret has no %s", name)
		}
		writeFile(t, filepath.Join(dir, name), value)
	}
	if code, said := check(); code != exitDone || strings.Contains(said, "warning") {
		t.Errorf("with the Secret filled in: got %d %s", code, said)
	}

	n := newSecuredNATS(t, "", "")
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL="+n.URL, "PERSAT_BRIDGE_NATS_STREAM_REPLICAS=1",
		"PERSAT_BRIDGE_SERVICE_HOST=10.0.0.1", "PERSAT_BRIDGE_ADMIN_PORT=tcp://10.0.0.1:8081")
	b.Args[len(b.Args)-1] = file
	b.Start()
	b.post("msg-1", eventBody("workorder.closed", "48", "msg-1"))
	b.drained()
	if stream, err := n.admin.Stream(t.Context(), "PERSAT"); err != nil || stream.CachedInfo().State.Msgs != 1 {
		t.Errorf("the stream does not have the event: %v", err)
	}
	paths["/api/status"] = true
	for path := range paths {
		response, err := http.Get(b.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		want := http.StatusOK
		if path == "/api/status" {
			want = http.StatusUnauthorized
		}
		if response.StatusCode != want {
			t.Errorf("%s without a token: got %d, want %d", path, response.StatusCode, want)
		}
	}
}

// scalars adds every value of a key in a tree.
func scalars(n *yaml.Node, key string, values map[string]bool) {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && n.Content[i-1].Value == key && child.Kind == yaml.ScalarNode {
			values[child.Value] = true
		}
		scalars(child, key, values)
	}
}
