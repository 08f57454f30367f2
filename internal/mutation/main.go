package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	only := flag.String("only", "", "run only the mutations whose name or file has this text in it")
	limit := flag.Duration("limit", time.Minute, "how long a simulation may take to catch a mutation; a build is not counted")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, limit time.Duration) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	mutations, err := Find(root)
	if err != nil {
		return err
	}
	mutations = slices.DeleteFunc(mutations, func(m Mutation) bool {
		return !strings.Contains(m.Name, only) && !strings.Contains(m.File, only) && !strings.Contains(m.At, only)
	})
	if len(mutations) == 0 {
		return fmt.Errorf("no mutation has %q in it", only)
	}
	tree, err := os.MkdirTemp("", "mutation")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	if err := copyTree(tree, root); err != nil {
		return fmt.Errorf("copy the tree: %w", err)
	}
	var passed []string
	for _, m := range mutations {
		key := strings.Join(m.Run, " ")
		if slices.Contains(passed, key) {
			continue
		}
		passed = append(passed, key)
		fmt.Printf("%-64s ", "as it is: "+key)
		outcome, took, output := test(ctx, tree, m.Run, 10*limit)
		fmt.Printf("%s in %.1f s\n", outcome, took.Seconds())
		if outcome != survived {
			return fmt.Errorf("the tree as it is has to pass:\n%s", output)
		}
	}
	missed := 0
	for _, m := range mutations {
		fmt.Printf("%-64s ", m.Name)
		outcome, took, output, err := m.try(ctx, tree, limit)
		if err != nil {
			return err
		}
		fmt.Printf("%s in %.1f s\n", outcome, took.Seconds())
		if outcome == broken {
			fmt.Printf("%s: mutation %q has to build:\n%s", m.At, m.Name, output)
		}
		if outcome != caught {
			missed++
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	fmt.Printf("%d mutations, %d caught\n", len(mutations), len(mutations)-missed)
	if missed > 0 {
		return fmt.Errorf("%d of %d mutations were not caught", missed, len(mutations))
	}
	return nil
}

// try puts the fault into the copy, runs the simulation, and takes it out again.
func (m *Mutation) try(ctx context.Context, tree string, limit time.Duration) (outcome string, took time.Duration, output string, err error) {
	path := filepath.Join(tree, filepath.FromSlash(m.File))
	source, err := os.ReadFile(path)
	if err != nil {
		return "", 0, "", fmt.Errorf("%s: mutation %q: %w", m.At, m.Name, err)
	}
	mutated, err := m.Apply(source)
	if err != nil {
		return "", 0, "", err
	}
	if err := os.WriteFile(path, mutated, 0o600); err != nil {
		return "", 0, "", err
	}
	outcome, took, output = test(ctx, tree, m.Run, limit)
	return outcome, took, output, os.WriteFile(path, source, 0o600)
}

// The outcomes of a simulation.
const (
	caught   = "caught"
	survived = "passed"
	tooSlow  = "not caught in time"
	broken   = "does not build"
)

// test builds the tests first, so that took is of the simulation alone.
func test(ctx context.Context, tree string, args []string, limit time.Duration) (outcome string, took time.Duration, output string) {
	goTest := func(more ...string) (string, error) {
		c := exec.CommandContext(ctx, "go", slices.Concat([]string{"test", "-count=1"}, more, args)...)
		c.Dir = tree
		c.Env = append(os.Environ(), "TEST_PATIENCE=20s") // a test that fails is not to wait for long
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if output, err := goTest("-run=^$", "-exec=true"); err != nil {
		return broken, 0, output
	}
	begin := time.Now()
	output, err := goTest("-timeout=" + limit.String())
	took = time.Since(begin)
	switch {
	case err == nil:
		return survived, took, output
	case strings.Contains(output, "panic: test timed out"):
		return tooSlow, took, output
	}
	return caught, took, output
}

// moduleRoot is the directory of go.mod, from here upwards.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("no go.mod here or above")
		}
		dir = filepath.Dir(dir)
	}
}

// copyTree copies what a build and a test need.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch target := filepath.Join(to, name); {
		case d.IsDir() && path != from && skipped(d.Name()):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case !d.Type().IsRegular():
			return nil
		default:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(target, b, 0o600)
		}
	})
}
