package testproc

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// BuildRelease runs "go build" in dir with args, as releases and images are built: without C
// and without paths. It returns the build cache, which holds nothing else, so that it can be
// copied to where the same is built again.
func BuildRelease(tb testing.TB, dir string, args ...string) (cache string) {
	tb.Helper()
	user, err := os.UserCacheDir()
	if err != nil {
		tb.Fatal(err)
	}
	cache = filepath.Join(user, "persat-bridge-test", "release-"+runtime.Version())
	build := exec.CommandContext(tb.Context(), "go", slices.Concat([]string{"build", "-trimpath", "-buildvcs=false"}, args)...)
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOCACHE="+cache)
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("go build: %v\n%s", err, out)
	}
	return cache
}
