package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) healthcheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Exit with 0 when the bridge on this host is ready, for containers",
		Args:  noArgs,
	}
	file := configFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, _, err := p.loadWithoutSecrets(*file)
		if err != nil {
			return err
		}
		return ready(c.Context(), "http://"+reachable(cfg.Admin.Listen)+"/readyz")
	}
	return c
}

func ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("not ready: nothing listens at %s (admin.listen): is 'serve' running with this configuration?", request.URL.Host)
	case err != nil:
		return fmt.Errorf("not ready: %w", err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 500))
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	switch {
	case response.StatusCode == http.StatusOK && line == "ok":
		return nil
	case response.StatusCode == http.StatusServiceUnavailable:
		return fmt.Errorf("not ready: %s", shown(line, 200))
	}
	return fmt.Errorf("not ready: not an answer of persat-bridge at %s: %d %.60q: is something else on that port?", url, response.StatusCode, line)
}

// reachable turns an address to listen on into one to connect to: a listener on
// all addresses is reached on loopback.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
