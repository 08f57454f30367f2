package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrRemoved: the journal's directory, or a file in it, is not the one that was opened.
var ErrRemoved = errors.New("the journal's directory was removed, moved or replaced while it was open")

// presence knows the directory, the lock and the newest log of an open journal. A file
// that is open takes writes and syncs also when its name is gone, and all of them are
// lost with the process. So what was synced counts only while the names still lead to
// these files.
type presence struct {
	dir string

	mu    sync.Mutex
	files map[string]os.FileInfo // by path
	log   string                 // the path of the newest log
	all   time.Time              // when all of them were last there
	lost  error                  // ErrRemoved once a log was gone when the next one began
}

// allEvery is how often directory and lock are looked for, which stand in the way of another
// process. What is answered for lies in the newest log, behind all names that lead to it:
// that is looked for each time.
const allEvery = 10 * time.Millisecond

func newPresence(dir string) *presence {
	return &presence{dir: dir, files: make(map[string]os.FileInfo)}
}

// opened takes note of the directory and its lock.
func (p *presence) opened() error {
	for _, path := range []string{p.dir, filepath.Join(p.dir, "LOCK")} {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		p.note(path, info)
	}
	return nil
}

func (p *presence) note(path string, info os.FileInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[path] = info
}

// newLog takes note of the log that is written from now on. One that is gone already
// is found by the next check. The one before is looked for a last time: not all that was
// synced to it has been answered for.
func (p *presence) newLog(path string) {
	info, _ := os.Stat(path)
	p.mu.Lock()
	defer p.mu.Unlock()
	if was, ok := p.files[p.log]; ok && p.lost == nil {
		p.lost = sameFile(p.log, was)
	}
	delete(p.files, p.log)
	p.files[path] = info
	p.log = path
}

// check is ErrRemoved once one of the names leads elsewhere. It costs a few microseconds
// and touches no data. But whoever waits for an answer waits for it, too, and on busy
// processors for one after each system call.
func (p *presence) check() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost != nil {
		return p.lost
	}
	all := time.Since(p.all) >= allEvery
	for path, was := range p.files {
		if !all && path != p.log {
			continue
		}
		if err := sameFile(path, was); err != nil {
			return err
		}
	}
	if all {
		p.all = time.Now()
	}
	return nil
}

// sameFile is ErrRemoved when a path no longer leads to the file that was there.
func sameFile(path string, was os.FileInfo) error {
	switch now, err := os.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: %s is gone", ErrRemoved, path)
	case err != nil: // it does not answer, which is no proof; a write will say more
	case !os.SameFile(was, now):
		return fmt.Errorf("%w: another file is in the place of %s", ErrRemoved, path)
	}
	return nil
}
