// Bench measures what persat-bridge costs, side by side with the least that a webhook
// can do and with what people write instead, in one run on one machine. Everything
// is a process of its own: the real bridge, nats-servers, an Echo handler that only
// says 202, and the bridge that people write by hand. They take turns, a few seconds
// each, over several rounds; what counts is the median, and the ratio of medians,
// for the machine is shared and its mood changes.
//
//	make bench
//
// The tables go to the terminal and, with charts, to artefacts/bench.
//
// The load generator lives in this process and takes its share of the same machine.
// What is measured is therefore how much a server leaves of the machine.
//
// Dependencies of this command alone: go-analyze/charts, whose part chartdraw draws them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		if err := runChild(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	self, bridge string // programs
	before       string // another build of the bridge, or ""
	dir          string // for data; removed at the end
	rounds       int
	slice        time.Duration // one measurement
	backlog      int           // the large one
	drained      int           // events drained in one measurement
	contenders   []*contender
	report       *report
}

// A part is a group of measurements that share processes.
type part struct {
	name string
	run  func(context.Context) error
}

func run(ctx context.Context) (err error) {
	rounds := flag.Int("rounds", 5, "rounds; the median counts")
	slice := flag.Duration("slice", 3*time.Second, "length of one measurement")
	backlog := flag.Int("backlog", 1_000_000, "events that wait, at most")
	drained := flag.Int("drained", 500_000, "events that are drained at a time")
	only := flag.String("only", "", "only these parts, comma-separated: floor, accept, drain, always, steady, backlog, sources, idle")
	flag.Func("connections", "numbers of connections, comma-separated", numbers(&connections))
	flag.Func("acceptors", "who answers, comma-separated", words(&acceptors))
	out := flag.String("out", "artefacts/bench", "where tables and charts go")
	bridge := flag.String("bridge", "", "the persat-bridge to measure; built from here when empty")
	before := flag.String("before", "", "another persat-bridge, measured beside it by accept, drain and steady: an older build")
	temporary := flag.String("dir", "", "a directory for data, on the disk that counts; removed afterwards")
	flag.Parse()

	b := &bench{bridge: *bridge, before: *before, rounds: *rounds, slice: *slice, backlog: *backlog, drained: *drained, report: newReport()}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(*temporary, "persat-bridge-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	defer b.stopAll()
	if b.bridge == "" {
		b.bridge = filepath.Join(b.dir, "persat-bridge")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.bridge, "github.com/persat-bridge/persat-bridge/cmd/persat-bridge")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build persat-bridge: %w: %s", err, text)
		}
	}
	b.report.Machine = machine(b.dir)
	b.report.Rounds, b.report.Slice = b.rounds, b.slice.String()
	fmt.Printf("%s\n%d rounds of %v each; the median counts\n", b.report.Machine, b.rounds, b.slice)
	for _, p := range []part{
		{"floor", b.floor}, {"accept", b.accept}, {"drain", b.drain}, {"always", b.always}, {"steady", b.steady},
		{"backlog", b.atBacklog}, {"sources", b.sources}, {"idle", b.idle},
	} {
		if *only != "" && !strings.Contains(","+*only+",", ","+p.name+",") {
			continue
		}
		begin := time.Now()
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		b.stopAll()
		fmt.Printf("\n%s\n(%v)\n", b.report.table(p.name), time.Since(begin).Round(time.Second))
	}
	b.report.judge()
	fmt.Printf("\n%s\n", b.report.verdicts())
	return b.report.write(*out)
}

func numbers(list *[]int) func(string) error {
	return func(text string) error {
		*list = nil
		for word := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(word)
			if err != nil {
				return err
			}
			*list = append(*list, n)
		}
		return nil
	}
}

func words(list *[]string) func(string) error {
	return func(text string) error {
		*list = strings.Split(text, ",")
		return nil
	}
}

// machine names what this was measured on.
func machine(dir string) string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				model = strings.TrimSpace(strings.TrimLeft(name, " \t:"))
				break
			}
		}
	}
	memory := ""
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int
		if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kib); err == nil {
			memory = fmt.Sprintf(", %d GiB", (kib+1<<19)>>20)
		}
	}
	return fmt.Sprintf("%d cores of %s%s, %s/%s, %s, data on %s", runtime.NumCPU(), model, memory, runtime.GOOS, runtime.GOARCH, runtime.Version(), fileSystem(dir))
}

func fileSystem(dir string) string {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return "an unknown file system"
	}
	for magic, name := range map[int64]string{0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x01021994: "tmpfs, which syncs nothing", 0x794c7630: "overlayfs"} {
		if int64(fs.Type) == magic {
			return name
		}
	}
	return fmt.Sprintf("a file system of type %#x", fs.Type)
}
