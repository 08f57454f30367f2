package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

// next is the version of the release that this tree becomes. The step after a release
// raises it: see CONTRIBUTING.md.
const next = "0.1.0"

// Set by the build. version is that of a release, without its v; builtFrom is the commit,
// which Go does not always find or write by itself: see Makefile and Dockerfile.
var (
	version   string
	builtFrom string
)

// thisVersion is the version of a release, and of any other build 0.1.0-dev+f458272, which
// semantic versioning sorts before that release.
func thisVersion() string {
	if version != "" {
		return version
	}
	return development(commit())
}

// development is the version of a build of the tree at commit.
func development(commit string) string {
	revision, modified := strings.CutSuffix(commit, "+changes")
	if revision == "" || revision == "unknown" {
		return next + "-dev"
	}
	v := next + "-dev+" + revision[:min(7, len(revision))]
	if modified {
		v += ".changes"
	}
	return v
}

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
	return fmt.Sprintf("persat-bridge %s, commit %s, %s\n", thisVersion(), commit(), runtime.Version())
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
		ConstLabels: prometheus.Labels{"version": thisVersion(), "commit": commit(), "goversion": runtime.Version()},
	})
	g.Set(1)
	return g
}
