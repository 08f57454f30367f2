package main

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// An expired certificate once was silent everywhere: every sender gave up in the
// handshake, and neither log, metrics nor status page had a word of it.
func TestCertificateExpiry(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	days := func(n int) time.Time { return begin.Add(time.Duration(n) * 24 * time.Hour) }
	tests := []struct {
		name     string
		lifetime int // days
		looks    []int
		want     []string // in each line
	}{
		{"renewed in time", 90, []int{0, 30, 60, 75}, nil},
		{"soon", 90, []int{0, 77, 80, 85}, []string{"expires on 2026-04-01"}},
		{"soon, then expired", 90, []int{77, 80, 90, 95}, []string{"expires on", "has expired on 2026-04-01"}},
		{"expired at the start", 90, []int{100}, []string{"has expired"}},
		{"short-lived", 6, []int{1, 4, 5}, []string{"expires on"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			notices := make(map[string]string)
			c := &certificate{looked: time.Now().Add(time.Hour), loaded: &tls.Certificate{Leaf: &x509.Certificate{NotBefore: begin, NotAfter: days(tt.lifetime)}}}
			e := &expiry{certificate: c, log: zap.New(core), notice: func(about, text string) { notices[about] = text }}
			for _, day := range tt.looks {
				e.look(days(day))
			}
			if logs.Len() != len(tt.want) {
				t.Fatalf("got %v, want %d lines", logs.All(), len(tt.want))
			}
			for i, want := range tt.want {
				if line := logs.All()[i].Message; !strings.Contains(line, want) {
					t.Errorf("line %d: got %q, want %q in it", i, line, want)
				}
			}
			if notice := notices["certificate"]; (notice != "") != (len(tt.want) > 0) {
				t.Errorf("notice: got %q", notice)
			}
			c.loaded.Leaf = &x509.Certificate{NotBefore: days(80), NotAfter: days(400)}
			e.look(days(100))
			if notices["certificate"] != "" {
				t.Errorf("renewed: the notice stays: %q", notices["certificate"])
			}
		})
	}
}
