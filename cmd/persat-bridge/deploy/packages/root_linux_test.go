package packages

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// stageVariable makes the test binary one of the two processes that hold a root; dirVariable
// is its directory.
const (
	stageVariable = "PERSAT_BRIDGE_TEST_STAGE"
	dirVariable   = "PERSAT_BRIDGE_TEST_ROOT"
)

func TestMain(m *testing.M) {
	stage := map[string]func(dir string) error{"keep": keep, "boot": boot}[os.Getenv(stageVariable)]
	if stage == nil {
		os.Exit(m.Run())
	}
	if err := stage(os.Getenv(dirVariable)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// root is this machine's system once more, with a systemd of its own, in namespaces of its
// own: what is written goes into memory and is gone with it, its loopback has no port
// taken, and its units are in a control group of its own.
type root struct {
	t   *testing.T
	pid string // of its systemd
}

func newRoot(t *testing.T) *root {
	t.Helper()
	cmd := again("keep", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	var stderr testproc.Output
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the end of the root: %v\n%s", err, stderr.String())
		}
	})
	r := &root{t: t}
	if _, err := fmt.Fscan(stdout, &r.pid); err != nil {
		t.Fatalf("no root of its own: %v\n%s", err, stderr.String())
	}
	testwait.Eventually(t, "systemd runs", func() bool {
		out, _ := r.command("systemctl", "is-system-running").Output()
		state := strings.TrimSpace(string(out))
		return state == "running" || state == "degraded" // by a unit of this machine
	})
	return r
}

// again is this test binary as another stage.
func again(stage, dir string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), stageVariable+"="+stage, dirVariable+"="+dir)
	return cmd
}

// keep starts the root in a control group of its own, prints its process, and ends it when
// its own input ends.
func keep(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts here: %w", err)
	}
	if err := syscall.Mount("cgroup2", dir, "cgroup2", 0, ""); err != nil {
		return fmt.Errorf("mount control groups: %w", err)
	}
	group := filepath.Join(dir, "persat-bridge-test-"+strconv.Itoa(os.Getpid()))
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		return err
	}
	enter := func(group string) error {
		return os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0o644)
	}
	if err := enter(group); err != nil {
		return err
	}
	// In it, because its namespace begins where its parent is.
	cmd := again("boot", dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
	}
	started := cmd.Start()
	for line := range strings.Lines(string(before)) {
		if own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			if err := enter(filepath.Join(dir, own)); err != nil {
				return err
			}
		}
	}
	if started != nil {
		return started
	}
	fmt.Println(cmd.Process.Pid)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	_ = cmd.Process.Kill() // the first process of its namespace: all others end with it
	_ = cmd.Wait()
	var groups []string
	err = filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	for _, path := range slices.Backward(groups) {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// boot makes the root and becomes its systemd.
func boot(dir string) error {
	if err := syscall.Unmount(dir, 0); err != nil {
		return fmt.Errorf("unmount the control groups: %w", err)
	}
	// In memory: the layer that is written must not lie in the one below it.
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2g,mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	merged, upper, work := filepath.Join(dir, "root"), filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, d := range []string{merged, upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := syscall.Mount("overlay", merged, "overlay", 0, "lowerdir=/,upperdir="+upper+",workdir="+work); err != nil {
		return fmt.Errorf("mount the overlay: %w", err)
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"proc", "proc", "proc", 0},
		{"/proc/sys", "proc/sys", "", syscall.MS_BIND},
		{"", "proc/sys", "", syscall.MS_BIND | syscall.MS_REMOUNT | syscall.MS_RDONLY},
		{"sysfs", "sys", "sysfs", syscall.MS_RDONLY},
		{"cgroup2", "sys/fs/cgroup", "cgroup2", 0},
		{"/dev", "dev", "", syscall.MS_BIND | syscall.MS_REC},
		{"tmpfs", "run", "tmpfs", 0},
		{"tmpfs", "tmp", "tmpfs", 0},
	} {
		if err := syscall.Mount(m.source, filepath.Join(merged, m.target), m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	// Nothing of this machine is started again: only what the test starts, and what that needs.
	for _, pattern := range []string{"etc/systemd/system/*.wants", "usr/lib/systemd/system/*.wants", "lib/systemd/system/*.wants"} {
		wants, err := filepath.Glob(filepath.Join(merged, pattern))
		if err != nil {
			return err
		}
		for _, w := range wants {
			if err := os.RemoveAll(w); err != nil {
				return err
			}
		}
	}
	if err := os.WriteFile(filepath.Join(merged, "etc/fstab"), nil, 0o644); err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	old := filepath.Join(merged, "run/old")
	if err := os.Mkdir(old, 0o700); err != nil {
		return err
	}
	if err := syscall.PivotRoot(merged, old); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := syscall.Unmount("/run/old", syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	if err := os.Remove("/run/old"); err != nil {
		return err
	}
	const systemd = "/lib/systemd/systemd"
	args := []string{"systemd", "--system", "--unit=sysinit.target", "--log-target=console", "--log-level=notice", "--show-status=no"}
	return fmt.Errorf("become %s: %w", systemd, syscall.Exec(systemd, args, []string{"container=test", "PATH=" + path}))
}

// loopbackUp is "ip link set lo up".
func loopbackUp() error {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(socket)
	request := struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{flags: syscall.IFF_UP}
	copy(request.name[:], "lo")
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(socket), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// command is one inside of the root.
func (r *root) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--target", r.pid, "--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wd", "--"}, args...)...)
	cmd.Env = []string{"PATH=" + path, "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

// try runs a command line of the shell, as root does at a terminal.
func (r *root) try(line string, environ ...string) (string, error) {
	r.t.Helper()
	cmd := r.command("sh", "-c", line)
	cmd.Env = append(cmd.Env, environ...)
	out, err := cmd.CombinedOutput()
	said := strings.TrimSpace(string(out))
	r.t.Logf("# %s\n%s", line, said)
	return said, err
}

func (r *root) run(line string, environ ...string) string {
	r.t.Helper()
	out, err := r.try(line, environ...)
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

// put copies a file of this machine into the root.
func (r *root) put(file, target string) {
	r.t.Helper()
	in, err := os.Open(file)
	if err != nil {
		r.t.Fatal(err)
	}
	defer in.Close()
	cmd := r.command("sh", "-c", "cat >"+target)
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%s: %v\n%s", target, err, out)
	}
}

// files are those of the system whose path has the product's name, without what dpkg and
// rpm note for themselves. Docker's layers are no files of the system.
func (r *root) files() []string {
	r.t.Helper()
	out := r.run("find /etc /usr/bin /usr/lib /usr/share /var/lib -xdev -path /var/lib/docker -prune -o -path /var/lib/containerd -prune -o -path '*persat-bridge*' -not -path '*/dpkg/*' -not -path '*/rpm/*' -print")
	return slices.DeleteFunc(strings.Split(out, "\n"), func(line string) bool { return line == "" })
}

// leftovers are the files that came after before.
func (r *root) leftovers(before []string) []string {
	r.t.Helper()
	return slices.DeleteFunc(r.files(), func(file string) bool { return slices.Contains(before, file) })
}
