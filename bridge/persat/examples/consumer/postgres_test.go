package main

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// startPostgres starts a PostgreSQL server for the test, on a socket of its own, and
// returns the address of its database.
func startPostgres(t *testing.T) string {
	t.Helper()
	bin := needPostgres(t)
	// The path of a socket is short, and PostgreSQL does not run as root.
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() == 0 {
		attributes.Credential = owner(t, dir)
	}
	run := func(name string, args ...string) (*exec.Cmd, *testproc.Output) {
		output := new(testproc.Output)
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, attributes
		cmd.Env = []string{"LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH")}
		cmd.Stdout, cmd.Stderr = output, output
		return cmd, output
	}
	data := filepath.Join(dir, "data")
	cmd, output := run("initdb", "--no-sync", "-D", data, "-U", "persat", "-A", "trust", "-E", "UTF8")
	if err := cmd.Run(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, output)
	}
	server, output := run("postgres", "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "shared_buffers=16MB")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = server.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGQUIT) // ends its children, too
		<-exited
		if t.Failed() {
			t.Logf("postgres wrote:\n%s", output)
		}
	})
	database := "host=" + dir + " user=persat dbname=postgres"
	db, err := sql.Open("pgx", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	testwait.Eventually(t, "PostgreSQL answers", func() bool {
		select {
		case <-exited:
			t.Fatalf("postgres ended:\n%s", output)
		default:
		}
		return db.Ping() == nil
	})
	return database
}

// needPostgres finds the programs of PostgreSQL, which Debian keeps out of the PATH. A
// test that cannot run without them has failed in CI.
func needPostgres(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		t.Fatal(err)
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		found = append(found, path)
	}
	switch {
	case len(found) > 0:
		return filepath.Dir(found[len(found)-1])
	case os.Getenv("CI") == "true":
		t.Fatal("PostgreSQL is not installed (package postgresql), and this is CI")
	}
	t.Skip("SKIPPED, NOT TESTED: PostgreSQL is not installed (package postgresql)")
	return ""
}

// owner gives dir to the user who is to run the server.
func owner(t *testing.T, dir string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// Two processes start at once and get one event at the same time: the tables are made
// once, and the event has one effect.
func TestPostgresTogether(t *testing.T) {
	database := startPostgres(t)
	event, err := persat.Parse([]byte(`{"eventType":"workorder.x","payload":{"_id":"a","state":"1"}}`))
	if err != nil {
		t.Fatal(err)
	}
	const processes = 4
	effects := make(chan bool, processes)
	var group sync.WaitGroup
	for range processes {
		group.Go(func() {
			l, err := openPostgres(database)
			if err != nil {
				t.Error(err)
				return
			}
			defer l.close()
			fresh, err := l.record("/persat/persat msg_1", event, 7)
			if err != nil {
				t.Error(err)
			}
			effects <- fresh
		})
	}
	group.Wait()
	close(effects)
	count := 0
	for fresh := range effects {
		if fresh {
			count++
		}
	}
	if count != 1 {
		t.Errorf("got %d effects, want 1", count)
	}
}

// Identities and states can be what an index or a text of PostgreSQL does not take.
func TestPostgresTakesAnyText(t *testing.T) {
	l, err := openPostgres(startPostgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for i, entity := range []string{`a\u0000b`, strings.Repeat("ñ", 10_000), `\ud800`, ""} {
		event, err := persat.Parse(fmt.Appendf(nil, `{"eventType":"workorder.x","payload":{"_id":"%s","state":"\u0000"}}`, entity))
		if err != nil {
			t.Fatal(err)
		}
		if fresh, err := l.record(fmt.Sprint("/persat/persat msg_", i), event, 7); err != nil || !fresh {
			t.Errorf("entity %.20q: got %v, %v", entity, fresh, err)
		}
	}
	for range 2 {
		if err := l.putAside(8, []byte{0, 0xff}, "bytes \x00\xff"); err != nil {
			t.Error(err)
		}
	}
	if got := asides(t, l); len(got) != 1 || got[0] != "\x00\xff" {
		t.Errorf("put aside %q", got)
	}
}
