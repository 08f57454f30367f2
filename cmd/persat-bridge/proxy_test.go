package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// newNginx runs nginx with the defaults of its packages in front of the bridges.
func newNginx(t *testing.T, bridges ...*bridgeProcess) (address string) {
	t.Helper()
	path := needTool(t, "nginx", "nginx", "/usr/sbin/nginx")
	var upstream strings.Builder
	for _, b := range bridges {
		u, err := url.Parse(b.url)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&upstream, "server %s; ", u.Host)
	}
	return startNginx(t, path, func(dir, address string) string {
		return nginxPaths(dir) + "upstream bridges { " + upstream.String() + "}\nserver { listen " + address + "; location / { proxy_pass http://bridges; } }\n"
	})
}

// nginxPaths has nginx keep its files in dir.
func nginxPaths(dir string) string {
	return fmt.Sprintf("client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;\n", dir)
}

// startNginx runs nginx with what http returns in its block http, and waits until it
// listens on the address that http was given.
func startNginx(t *testing.T, path string, http func(dir, address string) string) (address string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // its workers may be another user
		t.Fatal(err)
	}
	address = testwait.FreeAddress(t)
	file := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf("daemon off; master_process off; pid %s/pid; error_log stderr;\nevents { worker_connections 512; }\nhttp {\n  access_log off;\n%s\n}\n", dir, http(dir, address))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(path, "-c", file, "-e", "stderr")
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("nginx said:\n%s", tailOf(said.String(), 4000))
		}
	})
	testwait.Eventually(t, "nginx listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return address
}

// A stranger posts large bodies to an unknown path through nginx, without a secret.
// Each 404 was once a reset for nginx, which took both bridges out of its rotation and
// answered every good event 502 for ten seconds.
func TestStrangersBodiesBehindNginx(t *testing.T) {
	t.Parallel()
	first, second := newBridgeProcess(t), newBridgeProcess(t)
	address := newNginx(t, first, second)
	first.Start()
	second.Start()

	megabytes := int64(150) // of a stranger's bodies
	if testing.Short() {
		megabytes = 20
	}
	if *long {
		megabytes = 1200
	}
	attack, over := context.WithCancel(t.Context())
	defer over()
	var strangers, good sync.WaitGroup
	for i := range 4 {
		strangers.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for left := megabytes << 20 / 4; left > 0; {
				size := 20<<10 + random.Int64N(880<<10)
				left -= size
				res, err := client.Post("http://"+address+"/webhooks/nobody", "application/json", io.LimitReader(zeros{}, size))
				if err != nil {
					t.Errorf("stranger: %v", err)
					return
				}
				res.Body.Close()
				if res.StatusCode != http.StatusNotFound {
					t.Errorf("stranger's %d bytes: got %d, want 404", size, res.StatusCode)
					return
				}
			}
		})
	}
	posted := 0
	good.Go(func() {
		s := newSender("http://"+address+"/webhooks/persat", testSecret, 1)
		defer s.close()
		for attack.Err() == nil {
			posted++
			got, err := s.post(t.Context(), newDeliveryID(), []byte(`{"eventType":"workorder.created","payload":{"_id":"48"}}`))
			if err != nil || !got.ok() {
				t.Errorf("good event %d: %d, %v", posted, got.code, err)
				return
			}
		}
	})
	strangers.Wait()
	over()
	good.Wait()
	if posted == 0 {
		t.Error("no good event was posted meanwhile")
	}
	t.Logf("%d good events beside %d MB of a stranger's", posted, megabytes)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
