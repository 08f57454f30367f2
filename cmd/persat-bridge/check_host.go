package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
	"github.com/persat-bridge/persat-bridge/publisher"
)

// checkHost finds what would keep 'serve' from starting here, as this user. These are
// warnings: the configuration may be for another host. An address in use is none, for it
// may be the bridge itself that runs. Nothing is changed.
func checkHost(cfg *config.Config) []publisher.Finding {
	var found []publisher.Finding
	warn := func(key string, err error) {
		if err != nil {
			found = append(found, publisher.Finding{Level: publisher.Warning, Text: fmt.Sprintf("%s: on this host 'serve' would not start: %v", key, err)})
		}
	}
	warn("server.listen", mayListen(cfg.Server.Listen))
	warn("admin.listen", mayListen(cfg.Admin.Listen))
	warn("journal.dir", mayWrite(cfg.Journal.Dir))
	if cfg.NATS.Embedded.Enabled {
		if cfg.NATS.Embedded.Listen != "" {
			warn("nats.embedded.listen", mayListen(cfg.NATS.Embedded.Listen))
		}
		warn("nats.embedded.store_dir", mayWrite(cfg.NATS.Embedded.StoreDir))
	}
	if cfg.Tracing.Enabled {
		_, err := tracingWanted()
		warn("tracing", err)
	}
	return found
}

func mayListen(address string) error {
	if address == "" {
		return nil
	}
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil
	}
	return err
}

// mayWrite says whether a directory can be written, or made.
func mayWrite(dir string) error {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at):
			continue
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%s is a file, not a directory", at)
		}
		if err := writable(at); err != nil {
			return fmt.Errorf("%s cannot be written by this user: %w", at, err)
		}
		return nil
	}
}
