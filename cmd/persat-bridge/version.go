package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

// Set by the build. version is a tag, or "dev"; builtFrom is the commit, which Go does
// not always find or write by itself: see Makefile and Dockerfile.
var (
	version   = "dev"
	builtFrom string
)

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(p.stdout, versionLine())
			return err
		},
	}
}

// versionLine is what 'version' and --version print.
func versionLine() string {
	return fmt.Sprintf("persat-bridge %s, commit %s, %s\n", version, commit(), runtime.Version())
}

// commit is what Go wrote into the binary when it was built in a checkout, or
// what the build said.
func commit() string {
	if builtFrom != "" {
		return builtFrom
	}
	revision, modified := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = "+changes"
			}
		}
	}
	return revision + modified
}

func buildInfo() prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "persat_bridge_build_info",
		Help:        "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit(), "goversion": runtime.Version()},
	})
	g.Set(1)
	return g
}
