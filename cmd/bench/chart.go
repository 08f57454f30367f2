package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	charts "github.com/go-analyze/charts/chartdraw"
)

// charts draws what the report has figures for.
func (r *report) charts(dir string) error {
	if _, ok := r.figure("ceiling 64 rate"); ok {
		if err := r.latencyChart(filepath.Join(dir, "latency.svg")); err != nil {
			return fmt.Errorf("chart of latency: %w", err)
		}
	}
	if _, ok := r.figure("backlog large rate"); ok {
		if err := r.backlogChart(filepath.Join(dir, "backlog.svg")); err != nil {
			return fmt.Errorf("chart of backlog: %w", err)
		}
	}
	return nil
}

// latencyChart is the 99th percentile over throughput: a line for each server, a point
// for each number of connections.
func (r *report) latencyChart(file string) error {
	var lines []charts.Series
	for i, name := range acceptors {
		var x, y []float64
		for _, n := range connections {
			rate, ok := r.figure("%s %d rate", name, n)
			p99, _ := r.figure("%s %d p99", name, n)
			if ok {
				x, y = append(x, rate), append(y, math.Log10(p99))
			}
		}
		lines = append(lines, line(name, i, x, y))
	}
	return draw(file, "99 % of the answers within, over answers/s (1, 16, 64, 256 connections)", "answers/s", "ms", lines)
}

// backlogChart is what an accept costs with events waiting.
func (r *report) backlogChart(file string) error {
	var x, p99, rate []float64
	for _, name := range []string{"none", "tenth", "large"} {
		v, _ := r.figure("backlog %s p99", name)
		p99 = append(p99, math.Log10(v))
		v, _ = r.figure("backlog %s rate", name)
		rate = append(rate, math.Log10(v/1000))
		events, _ := r.figure("backlog %s events", name)
		x = append(x, events)
	}
	return draw(file, "Accept with events waiting: 99 % within ms, and thousands of answers/s", "events waiting", "ms, 1000/s", []charts.Series{
		line("99 % within, ms", 0, x, p99), line("1000 answers/s", 1, x, rate)})
}

func line(name string, colour int, x, y []float64) charts.Series {
	c := charts.GetDefaultColor(colour)
	return charts.ContinuousSeries{Name: name, XValues: x, YValues: y, Style: charts.Style{StrokeColor: c, StrokeWidth: 2, DotColor: c, DotWidth: 3}}
}

// draw draws lines whose y is a decimal logarithm.
func draw(file, title, xName, yName string, lines []charts.Series) error {
	low, high := math.Inf(1), math.Inf(-1)
	for _, l := range lines {
		for _, y := range l.(charts.ContinuousSeries).YValues {
			low, high = min(low, y), max(high, y)
		}
	}
	var ticks []charts.Tick
	for e := math.Floor(low); e <= math.Ceil(high); e++ {
		for _, m := range []float64{1, 2, 5} {
			if v := e + math.Log10(m); v >= low-.31 && v <= high+.31 {
				ticks = append(ticks, charts.Tick{Value: v, Label: fmt.Sprintf("%g", m*math.Pow(10, e))})
			}
		}
	}
	across := 0.0
	for _, l := range lines {
		across = max(across, slices.Max(l.(charts.ContinuousSeries).XValues))
	}
	step := math.Pow(10, math.Floor(math.Log10(across)))
	if across < 3*step {
		step /= 5
	}
	var along []charts.Tick
	for x := 0.0; x < across+step; x += step {
		along = append(along, charts.Tick{Value: x, Label: count(x)})
	}
	c := charts.Chart{
		Title: title, TitleStyle: charts.Style{FontStyle: charts.FontStyle{FontSize: 11}}, Width: 900, Height: 480,
		Background: charts.Style{Padding: charts.Box{Top: 50, Left: 150, Right: 20, Bottom: 20, IsSet: true}},
		XAxis:      charts.XAxis{Name: xName, Ticks: along, Range: &charts.ContinuousRange{Max: along[len(along)-1].Value}},
		YAxis:      charts.YAxis{Name: yName, Ticks: ticks, Range: &charts.ContinuousRange{Min: ticks[0].Value, Max: ticks[len(ticks)-1].Value}},
		// There is no second one; shown, it would have a zero.
		YAxisSecondary: charts.YAxis{Style: charts.Style{Hidden: true}},
		Series:         lines,
	}
	c.Elements = []charts.Renderable{charts.LegendLeft(&c)}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := c.Render(charts.SVG, f); err != nil {
		return err
	}
	return f.Close()
}
