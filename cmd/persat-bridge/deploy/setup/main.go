// Setup prepares the volumes of docker-compose.yml, and ends. It runs before
// everything else, each time.
//
// It makes secrets into files, so that none is in the environment of a server,
// in an image, or needs to be made up by hand: passwords that are not there yet
// are invented, and stay. The webhook's secret comes from its variable and is
// written anew each time. And it gives volumes to the user that the servers run
// as: a fresh one belongs to root.
//
//	setup [-secrets DIR] DIR…   write the secrets, and give each DIR to the servers
//	setup show FILE             print a secret: consumer/nats-password
//
// It belongs to the image and not to persat-bridge: who deploys otherwise has
// other ways to keep secrets.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// owner is the user that the servers run as, see docker-compose.yml.
const owner = 65532

func main() {
	secrets := flag.String("secrets", "", "where to write secrets: a directory, and so a volume, for each reader")
	flag.Parse()
	var err error
	if flag.Arg(0) == "show" {
		err = show(flag.Arg(1))
	} else {
		err = setup(*secrets, os.Getenv("PERSAT_WEBHOOK_SECRET"), flag.Args())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "setup: %v\n", err)
		os.Exit(1)
	}
}

func show(name string) error {
	text, err := os.ReadFile(filepath.Join("/secrets", filepath.Clean("/"+name)))
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}

func setup(secrets, webhook string, volumes []string) error {
	if secrets != "" {
		if err := writeSecrets(secrets, webhook); err != nil {
			return err
		}
		for _, reader := range []string{"bridge", "consumer", "nats"} {
			volumes = append(volumes, filepath.Join(secrets, reader))
		}
	}
	for _, dir := range volumes {
		if err := give(dir); err != nil {
			return err
		}
	}
	return nil
}

func writeSecrets(dir, webhook string) error {
	if strings.TrimSpace(webhook) == "" {
		return errors.New("PERSAT_WEBHOOK_SECRET is empty: set it in .env")
	}
	if err := write(filepath.Join(dir, "bridge/webhook"), lines(webhook)); err != nil {
		return err
	}
	if _, err := password(filepath.Join(dir, "bridge/admin-token")); err != nil {
		return err
	}
	bridge, err := password(filepath.Join(dir, "bridge/nats-password"))
	if err != nil {
		return err
	}
	consumer, err := password(filepath.Join(dir, "consumer/nats-password"))
	if err != nil {
		return err
	}
	route, err := password(filepath.Join(dir, "nats/route-password"))
	if err != nil {
		return err
	}
	// nats-server reads no password file, but it includes files. A variable there
	// that nothing uses would keep it from starting: hence two of them.
	if err := write(filepath.Join(dir, "nats/users.conf"), fmt.Sprintf("BRIDGE_PASSWORD: %q\nCONSUMER_PASSWORD: %q\n", bridge, consumer)); err != nil {
		return err
	}
	var routes strings.Builder
	for _, member := range []string{"nats-1", "nats-2", "nats-3"} {
		// A variable does not reach into a URL.
		fmt.Fprintf(&routes, "  %q\n", "nats://route:"+route+"@"+member+":6222")
	}
	return write(filepath.Join(dir, "nats/routes.conf"), fmt.Sprintf("ROUTE_PASSWORD: %q\nROUTES: [\n%s]\n", route, routes.String()))
}

// lines puts each of several secrets, during a rotation, on a line of its own.
func lines(secrets string) string {
	var text strings.Builder
	for secret := range strings.SplitSeq(secrets, ",") {
		fmt.Fprintln(&text, strings.TrimSpace(secret))
	}
	return text.String()
}

// password returns what is in the file, or puts a new one there.
func password(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	fresh := make([]byte, 24)
	_, _ = rand.Read(fresh) // never fails
	// Hex stands in URLs and on command lines as it is.
	text = []byte(hex.EncodeToString(fresh))
	return string(text), write(file, string(text)+"\n")
}

// write replaces the file as a whole: a server may be reading it.
func write(file, text string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	next := file + ".new"
	if err := os.WriteFile(next, []byte(text), 0o400); err != nil {
		return err
	}
	return os.Rename(next, file)
}

// give makes the servers' user the owner of dir and what is in it.
func give(dir string) error {
	return filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, owner, owner)
	})
}
