package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report is what a run has found.
type report struct {
	Machine string             `json:"machine"`
	Rounds  int                `json:"rounds"`
	Slice   string             `json:"slice"`
	Tables  []*table           `json:"tables"`
	Figures map[string]float64 `json:"figures"` // medians, by name
	Shows   []show             `json:"shows"`

	samples map[string][]float64
}

// table is a table of the report, under the name of its part.
type table struct {
	Part   string     `json:"part"`
	Title  string     `json:"title"`
	Header []string   `json:"header"`
	Rows   [][]string `json:"rows"`
}

// show is something that a run has to show.
type show struct {
	What   string  `json:"what"`
	Got    float64 `json:"got"`
	Want   float64 `json:"want"`
	AtMost bool    `json:"at_most"` // else at least
	Unit   string  `json:"unit,omitempty"`
}

func (s show) ok() bool {
	if s.AtMost {
		return s.Got <= s.Want
	}
	return s.Got >= s.Want
}

func newReport() *report {
	return &report{Figures: make(map[string]float64), samples: make(map[string][]float64)}
}

// note takes one measurement of a figure.
func (r *report) note(v float64, name string, args ...any) {
	name = fmt.Sprintf(name, args...)
	r.samples[name] = append(r.samples[name], v)
	r.Figures[name] = median(r.samples[name])
}

// figure is the median of what was noted; has is false when nothing was.
func (r *report) figure(name string, args ...any) (v float64, has bool) {
	v, has = r.Figures[fmt.Sprintf(name, args...)]
	return v, has
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func (r *report) add(part, title string, header []string, rows [][]string) {
	r.Tables = append(r.Tables, &table{part, title, header, rows})
}

// table is the tables of a part, for a terminal.
func (r *report) table(part string) string {
	var b strings.Builder
	for _, t := range r.Tables {
		if t.Part == part {
			b.WriteString("\n" + t.Title + "\n\n")
			b.WriteString(aligned(append([][]string{t.Header}, t.Rows...)))
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// aligned is rows in columns, the first flush left and the others right.
func aligned(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-len([]rune(cell)))
			if i == 0 {
				b.WriteString(cell + pad)
			} else {
				b.WriteString("  " + pad + cell)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// judge compares the figures with what a run has to show. What was not measured is not
// judged.
func (r *report) judge() {
	ratio := func(want float64, atMost bool, what, a, b string) {
		over, ok1 := r.figure("%s", a)
		under, ok2 := r.figure("%s", b)
		if ok1 && ok2 && under > 0 {
			r.Shows = append(r.Shows, show{What: what, Got: over / under, Want: want, AtMost: atMost})
		}
	}
	atMost := func(want float64, unit, what, name string) {
		if v, ok := r.figure("%s", name); ok {
			r.Shows = append(r.Shows, show{What: what, Got: v, Want: want, AtMost: true, Unit: unit})
		}
	}
	for _, n := range []string{"64", "256"} {
		ratio(0.60, false, "accept with NATS away, of the Echo ceiling, "+n+" connections", "bridge NATS away "+n+" rate", "ceiling "+n+" rate")
		ratio(0.45, false, "accepted and published, of the Echo ceiling, "+n+" connections", "bridge "+n+" rate", "ceiling "+n+" rate")
	}
	if p50, ok := r.figure("bridge NATS away 1 p50"); ok {
		if floor, ok := r.figure("fdatasync 4KiB"); ok {
			ceiling, _ := r.figure("ceiling 1 p50")
			r.Shows = append(r.Shows, show{What: "1 connection, p50 beyond the ceiling's, in bare fdatasyncs", Got: (p50 - ceiling) / floor, Want: 1.5, AtMost: true})
		}
	}
	ratio(1, false, "accepted and published, of the bridge written by hand, 64 connections", "bridge 64 rate", "by hand 64 rate")
	ratio(4.2, false, "the same, of the one by hand with sync_interval: always", "bridge 64 rate", "by hand synced 64 rate")
	for _, n := range []string{"64", "256"} {
		ratio(0.97, false, "accepted and published, of the build before, "+n+" connections", "bridge "+n+" rate", "before "+n+" rate")
		ratio(0.97, false, "accept with NATS away, of the build before, "+n+" connections", "bridge NATS away "+n+" rate", "before NATS away "+n+" rate")
		ratio(1, true, "processor time an event, of the build before, "+n+" connections", "bridge "+n+" cpu", "before "+n+" cpu")
	}
	ratio(1, true, "POST to subscriber at half of the highest rate, p50, of the build before", "steady bridge 0.5 subscriber p50", "steady before 0.5 subscriber p50")
	ratio(1, true, "its p99", "steady bridge 0.5 subscriber p99", "steady before 0.5 subscriber p99")
	ratio(1, true, "p99 of the answer, of the one by hand, 64 connections", "bridge 64 p99", "by hand 64 p99")
	ratio(0.8, false, "drain, of a bare PublishMsgAsync loop", "drain bridge", "drain bare")
	ratio(5, false, "drain to a NATS that syncs each message, with batches, of without", "always as it is auto rate", "always as it is off rate")
	ratio(12, false, "the same with 2 ms added to each sync", "always 2 ms slower auto rate", "always 2 ms slower off rate")
	ratio(0.97, false, "drain to a NATS that syncs nothing, publish.batch auto, of off", "unsynced drain auto", "unsynced drain off")
	for _, n := range []string{"64", "256"} {
		ratio(0.95, false, "accept with NATS away, of NATS there, "+n+" connections", "bridge NATS away "+n+" rate", "bridge "+n+" accepted")
		ratio(1.1, true, "its p99, of NATS there, "+n+" connections", "bridge NATS away "+n+" p99", "bridge "+n+" p99")
	}
	ratio(0.9, false, "accept with the large backlog, of an empty journal", "backlog large rate", "backlog none rate")
	atMost(200, "MiB", "memory with the large backlog", "backlog large memory")
	atMost(2, "s", "ready after a restart with the large backlog", "backlog large ready")
	atMost(64, "MiB", "memory at rest, NATS outside", "idle outside")
	atMost(100, "MiB", "memory at rest, NATS embedded", "idle embedded")
}

// verdicts are the shows as lines.
func (r *report) verdicts() string {
	rows := [][]string{{"", "got", "want", ""}}
	for _, s := range r.Shows {
		sign, verdict := "≥", "ok"
		if s.AtMost {
			sign = "≤"
		}
		if !s.ok() {
			verdict = "MISSED"
		}
		unit := ""
		if s.Unit != "" {
			unit = " " + s.Unit
		}
		rows = append(rows, []string{s.What, fmt.Sprintf("%.2f%s", s.Got, unit), fmt.Sprintf("%s %g%s", sign, s.Want, unit), verdict})
	}
	return aligned(rows)
}

// write leaves the report in a directory: for people, for programs, and charts.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.md"), []byte(r.markdown()), 0o644); err != nil {
		return err
	}
	if err := r.charts(dir); err != nil {
		return err
	}
	fmt.Printf("in %s: bench.md, bench.json and charts\n", dir)
	return nil
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s; %d rounds of %s each, medians.\n", r.Machine, r.Rounds, r.Slice)
	row := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	for _, t := range r.Tables {
		fmt.Fprintf(&b, "\n**%s**\n\n", t.Title)
		row(t.Header)
		row(slices.Repeat([]string{"---"}, len(t.Header)))
		for _, cells := range t.Rows {
			row(cells)
		}
	}
	if len(r.Shows) > 0 {
		fmt.Fprintf(&b, "\n```\n%s```\n", r.verdicts())
	}
	return b.String()
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func count(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }
