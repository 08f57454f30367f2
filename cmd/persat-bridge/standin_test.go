package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/internal/testproc"
)

// Stand-ins are images that are built here, under the names of official ones that
// cannot be had: the compose test also has to run where no registry is reached.
// Where the real image is there, it is used, and no stand-in is made.

// standIn makes the image name from the files that fill writes.
func (e *engine) standIn(name string, changes []string, fill func(*tree)) {
	e.t.Helper()
	if exec.Command("docker", "image", "inspect", name).Run() == nil {
		e.t.Logf("%s is here", name)
		return
	}
	args := []string{"import"}
	for _, change := range changes {
		args = append(args, "--change", change)
	}
	cmd := exec.CommandContext(e.t.Context(), "docker", append(args, "-", name)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	files := &tree{t: e.t, w: tar.NewWriter(in), made: begin, dirs: make(map[string]bool)}
	fill(files)
	if err := files.w.Close(); err != nil {
		e.t.Errorf("%s: %v", name, err)
	}
	if err := in.Close(); err != nil {
		e.t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		e.t.Fatalf("import %s: %v\n%s", name, err, said.String())
	}
	e.t.Cleanup(func() { e.remove(name) })
	e.t.Logf("made a stand-in for %s in %v", name, time.Since(begin).Round(time.Second))
}

// remove takes away a stand-in and what the builder made of it without a name.
func (e *engine) remove(name string) {
	first := func(image string) string {
		layer, _ := exec.Command("docker", "inspect", "--format", "{{index .RootFS.Layers 0}}", image).Output()
		return string(layer)
	}
	base := first(name)
	unnamed, _ := exec.Command("docker", "images", "-q", "--filter", "dangling=true").Output()
	for _, image := range strings.Fields(string(unnamed)) {
		if first(image) == base {
			containers, _ := exec.Command("docker", "ps", "-aq", "--filter", "ancestor="+image).Output()
			for _, container := range strings.Fields(string(containers)) {
				e.docker("rm", "-f", container) // a step that failed
			}
			e.docker("rmi", "-f", image)
		}
	}
	e.docker("rmi", "-f", name)
}

// tree writes the files of an image.
type tree struct {
	t    *testing.T
	w    *tar.Writer
	made time.Time
	dirs map[string]bool
}

func (f *tree) dir(name string, mode int64) {
	name = strings.Trim(filepath.Clean(name), "/")
	if name == "" || name == "." || f.dirs[name] {
		return
	}
	f.dir(filepath.Dir(name), 0o755)
	f.dirs[name] = true
	if err := f.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}); err != nil {
		f.t.Fatal(err)
	}
}

// file copies the file from, through links, to the path to. It is new there: what go build
// uses of its cache, it would mark as used if it were older than an hour, which copies it in
// an image.
func (f *tree) file(from, to string) {
	f.t.Helper()
	in, err := os.Open(from)
	if err != nil {
		f.t.Fatal(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		f.t.Fatal(err)
	}
	f.dir(filepath.Dir(strings.Trim(to, "/")), 0o755)
	if err := f.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: strings.Trim(to, "/"), Mode: int64(info.Mode().Perm()) | 0o444, Size: info.Size(), ModTime: f.made}); err != nil {
		f.t.Fatal(err)
	}
	if _, err := io.Copy(f.w, in); err != nil {
		f.t.Fatal(err)
	}
}

// all copies what is under from and not left out.
func (f *tree) all(from, to string, leaveOut func(path string) bool) {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if leaveOut != nil && leaveOut(path) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.IsDir() {
			rel, err := filepath.Rel(from, path)
			if err != nil {
				return err
			}
			f.file(path, filepath.Join(to, rel))
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// program copies a program of this machine and the libraries it needs.
func (f *tree) program(name, to string) {
	path, err := exec.LookPath(name)
	if err != nil {
		f.t.Fatal(err)
	}
	f.file(path, to)
	libraries, err := exec.Command("ldd", path).Output()
	if err != nil {
		return // it is static
	}
	for _, library := range regexp.MustCompile(`(/\S+) \(`).FindAllSubmatch(libraries, -1) {
		if to := string(library[1]); !f.dirs[to] {
			f.dirs[to] = true
			f.file(to, to)
		}
	}
}

// golang is the Go image: the toolchain that runs this test, the modules of this
// repository as a proxy of files, and the three programs that the Dockerfile runs.
func (e *engine) golang(name string) {
	goroot := e.output("go", "env", "GOROOT")
	cache := e.output("go", "env", "GOMODCACHE")
	zips := make(map[string]bool) // and of all others their go.mod, which go reads too
	d := json.NewDecoder(strings.NewReader(e.output("go", "mod", "download", "-json")))
	for d.More() {
		var m struct{ Zip string }
		if err := d.Decode(&m); err != nil {
			e.t.Fatal(err)
		}
		zips[m.Zip] = true
	}
	changes := []string{
		"ENV PATH=/usr/local/go/bin:/bin", "ENV HOME=/root", "ENV GOPATH=/go", "ENV GOTOOLCHAIN=local",
		"ENV GOPROXY=file:///modules", "ENV GOSUMDB=off", "ENV GOCACHE=/gocache", "WORKDIR /go",
	}
	// What the Dockerfile compiles was compiled here before, all but the first
	// time: with -trimpath the results do not depend on where that was.
	built := testproc.BuildRelease(e.t, e.root, "-o", e.t.TempDir(), "./cmd/persat-bridge", "./cmd/persat-bridge/deploy/setup")
	e.standIn(name, changes, func(f *tree) {
		f.dir("tmp", 0o1777)
		f.dir("root", 0o700)
		for _, program := range []string{"sh", "mkdir", "chmod"} {
			f.program(program, "/bin/"+program)
		}
		f.file("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt")
		for _, part := range []string{"VERSION", "go.env", "bin/go", "lib/time/zoneinfo.zip"} {
			f.file(filepath.Join(goroot, part), filepath.Join("/usr/local/go", part))
		}
		for _, part := range []string{"pkg/include", "pkg/tool", "src"} {
			f.all(filepath.Join(goroot, part), filepath.Join("/usr/local/go", part), func(path string) bool {
				return strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "testdata" || path == filepath.Join(goroot, "src/cmd")
			})
		}
		f.all(filepath.Join(cache, "cache/download"), "/modules", func(path string) bool {
			return filepath.Base(path) == "sumdb" || filepath.Ext(path) == ".zip" && !zips[path]
		})
		f.all(built, "/gocache", nil)
	})
}

// nats is the NATS image: the server of the version that go.mod names.
func (e *engine) nats(name string) {
	binary := filepath.Join(e.t.TempDir(), "nats-server")
	testproc.BuildRelease(e.t, e.root, "-ldflags", "-s -w", "-o", binary, "github.com/nats-io/nats-server/v2")
	e.standIn(name, []string{`ENTRYPOINT ["/nats-server"]`, `CMD ["--config", "nats-server.conf"]`}, func(f *tree) {
		f.file(binary, "/nats-server")
	})
}
