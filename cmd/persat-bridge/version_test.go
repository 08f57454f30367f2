package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestVersionOfABuild(t *testing.T) {
	for commit, want := range map[string]string{
		"f4582723a5a9d2b0d5a2f0f3f4b0a3f7c1c9e8d7":         next + "-dev+f458272",
		"f4582723a5a9d2b0d5a2f0f3f4b0a3f7c1c9e8d7+changes": next + "-dev+f458272.changes",
		"unknown":         next + "-dev",
		"unknown+changes": next + "-dev",
		"":                next + "-dev",
	} {
		if got := development(commit); got != want {
			t.Errorf("a build of %q: version %q, want %q", commit, got, want)
		}
	}
	defer func(v string) { version = v }(version)
	version = "7.8.9"
	if got := versionLine(); !strings.HasPrefix(got, "persat-bridge 7.8.9, commit ") {
		t.Errorf("a release: %q", got)
	}
}

// The tree is never older than what was released: next is the newest version of the
// CHANGELOG, or above it. Above all of them stands what the next release gets.
func TestVersionIsOfTheChangelog(t *testing.T) {
	text := readDocument(t, "../../CHANGELOG.md")
	headings := regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(text, -1)
	if len(headings) < 2 || headings[0][1] != "Unreleased" {
		t.Fatalf("CHANGELOG.md begins with the headings %q, want Unreleased and a version", headings)
	}
	above := semver(t, next)
	for i, h := range headings[1:] {
		number, date, _ := strings.Cut(h[1], " - ")
		if !regexp.MustCompile(`^20\d\d-[01]\d-[0-3]\d$`).MatchString(date) {
			t.Errorf("CHANGELOG.md: %q has no date, as in 0.1.0 - 2026-11-27", h[1])
		}
		order := slices.Compare(semver(t, number), above)
		if order > 0 || i > 0 && order == 0 {
			t.Errorf("CHANGELOG.md: %s stands below %v (the first one is held to next of version.go)", number, above)
		}
		above = semver(t, number)
	}
}

func semver(t *testing.T, text string) []int {
	t.Helper()
	var numbers []int
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			t.Fatalf("%q is no version: want three numbers", text)
		}
		numbers = append(numbers, n)
	}
	if len(numbers) != 3 {
		t.Fatalf("%q is no version: want three numbers", text)
	}
	return numbers
}
