// Setup prepares the volumes of docker-compose.yml, and ends. It runs before
// everything else, each time.
//
// It makes secrets into files, so that none is in the environment of a server,
// in an image, or needs to be made up by hand: passwords that are not there yet
// are invented, and stay. The webhook's secret and the addresses of alerts come from
// their variables and are written again each time. And it gives volumes to the user
// that the servers run as: a fresh one belongs to root.
//
//	setup DIR…            write the secrets, and give each DIR to the servers
//	setup consumers       certificate and users for consumers on other hosts
//	setup certificate     read a certificate and its key from standard input, for them
//	setup show FILE       print a secret: consumer/nats-password
//	setup backup          write what is in /volumes and /secrets to standard output
//	setup restore         put a backup from standard input there; -replace: whatever is there
//
// Only what is mounted is there: a service of docker-compose.yml mounts what it
// writes. setup belongs to the image and not to persat-bridge: who deploys otherwise
// has other ways to keep secrets.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// owner is the user that the servers run as, see docker-compose.yml.
const owner = 65532

func main() {
	if err := run(os.Args[1:], os.Getenv, "/", os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "setup: %v\n", err)
		os.Exit(1)
	}
}

// run does what args say. The volumes are mounted below root/volumes and root/secrets.
func run(args []string, getenv func(string) string, root string, stdin io.Reader, stdout, stderr io.Writer) error {
	secrets := filepath.Join(root, "secrets")
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	switch {
	case command == "show" && len(args) == 2:
		return show(secrets, args[1], stdout)
	case command == "consumers" && len(args) == 1:
		readers := []string{filepath.Join(secrets, "outside"), filepath.Join(secrets, "nats-outside")}
		if err := whole(readers...); err != nil {
			return err
		}
		if err := writeConsumers(secrets, getenv, time.Now(), stderr); err != nil {
			return err
		}
		return giveAll(readers...)
	case command == "certificate" && len(args) == 1:
		if err := installCertificate(secrets, getenv("NATS_HOSTS"), stdin, time.Now(), stderr); err != nil {
			return err
		}
		return giveAll(filepath.Join(secrets, "nats-outside"))
	case command == "backup" && len(args) == 1:
		if f, ok := stdout.(*os.File); ok && isTerminal(f) {
			return errors.New("backup: standard output is a terminal, which changes bytes: docker-compose run --rm -T setup backup > backup.tar")
		}
		return backup(root, stdout, stderr)
	case command == "restore" && (len(args) == 1 || len(args) == 2 && args[1] == "-replace"):
		if f, ok := stdin.(*os.File); ok && isTerminal(f) {
			return errors.New("restore: standard input is a terminal: docker-compose run --rm -T setup restore < backup.tar")
		}
		return restore(root, stdin, len(args) == 2, stderr)
	case slices.ContainsFunc(args, func(arg string) bool { return !strings.HasPrefix(arg, "/") }):
		return fmt.Errorf("%q is no command: show FILE, consumers, certificate, backup, restore [-replace], or directories", strings.Join(args, " "))
	}
	// A restore that was interrupted is seen before anything is written beside it.
	readers := []string{filepath.Join(secrets, "bridge"), filepath.Join(secrets, "consumer"), filepath.Join(secrets, "nats")}
	if err := whole(slices.Concat(args, readers)...); err != nil {
		return err
	}
	// Who has no secrets mounted, as the servers of a cluster, writes none.
	if _, err := os.Stat(secrets); err == nil {
		if err := writeSecrets(secrets, getenv); err != nil {
			return err
		}
		args = slices.Concat(args, readers)
	}
	return giveAll(args...)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func show(secrets, name string, stdout io.Writer) error {
	text, err := os.ReadFile(filepath.Join(secrets, filepath.Clean("/"+name)))
	if err != nil {
		return err
	}
	_, err = stdout.Write(text)
	return err
}

func writeSecrets(dir string, getenv func(string) string) error {
	webhook := getenv("PERSAT_WEBHOOK_SECRET")
	if strings.TrimSpace(webhook) == "" {
		return errors.New("PERSAT_WEBHOOK_SECRET is empty: set it in .env")
	}
	if err := write(filepath.Join(dir, "bridge/webhook"), lines(webhook)); err != nil {
		return err
	}
	// An empty file is a bridge without alerts.
	if err := write(filepath.Join(dir, "bridge/alerts"), addresses(getenv("ALERTS_URLS"))); err != nil {
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
	outside, err := password(filepath.Join(dir, "nats/outside-password"))
	if err != nil {
		return err
	}
	route, err := password(filepath.Join(dir, "nats/route-password"))
	if err != nil {
		return err
	}
	// nats-server reads no password file, but it includes files. A variable there
	// that nothing uses would keep it from starting: hence two of them.
	if err := write(filepath.Join(dir, "nats/users.conf"), fmt.Sprintf("BRIDGE_PASSWORD: %q\nCONSUMER_PASSWORD: %q\nOUTSIDE_PASSWORD: %q\n", bridge, consumer, outside)); err != nil {
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

// addresses puts each URL on a line of its own. A comma is between two only where an
// address begins after it: one of email has commas between its recipients.
func addresses(urls string) string {
	var text strings.Builder
	for part := range strings.FieldsFuncSeq(urls, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' }) {
		for i, url := range strings.Split(part, ",") {
			switch {
			case i == 0:
			case strings.Contains(url, "://") || url == "":
				text.WriteByte('\n')
			default:
				text.WriteByte(',')
			}
			text.WriteString(url)
		}
		text.WriteByte('\n')
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

func giveAll(dirs ...string) error {
	for _, dir := range dirs {
		if err := give(dir); err != nil {
			return err
		}
	}
	return nil
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
