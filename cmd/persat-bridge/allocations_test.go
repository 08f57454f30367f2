// The race detector allocates, and empties pools at will.
//go:build !race

package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/webhook"
)

// BenchmarkAccept is the way of a signed event of 2 KB from the handler to the disk, at
// 64 at a time. The HTTP server is not in it.
func BenchmarkAccept(b *testing.B) {
	j, err := journal.Open(journal.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	br, err := bridge.New(bridge.Options{Journal: j, Publisher: nowhere{}, Sources: []string{"persat"}})
	if err != nil {
		b.Fatal(err)
	}
	s, err := webhook.New(webhook.Options{Sources: []webhook.Source{{Name: "persat", Auth: webhook.AuthSvix, Secrets: []string{testSecret}}}}, br)
	if err != nil {
		b.Fatal(err)
	}
	handler := s.Handler()
	body := []byte(`{"eventType":"workorder.updated","payload":{"_id":"65f0c0ffee","state":"FINISHED","n":"` + string(bytes.Repeat([]byte("x"), 2048)) + `"}}`)
	headers := make([]http.Header, b.N)
	for i := range headers {
		if headers[i], err = webhook.Sign(testSecret, "msg_"+strconv.Itoa(b.N)+"_"+strconv.Itoa(i), time.Now(), body); err != nil {
			b.Fatal(err)
		}
	}
	var next atomic.Int64
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		reader := bytes.NewReader(body)
		r := httptest.NewRequest(http.MethodPost, "/webhooks/persat", nil)
		r.ContentLength = int64(len(body))
		w := httptest.NewRecorder()
		for pb.Next() {
			reader.Reset(body)
			r.Body = io.NopCloser(reader)
			r.Header = headers[next.Add(1)-1]
			w.Body.Reset()
			handler.ServeHTTP(w, r)
			if w.Code != http.StatusAccepted {
				b.Errorf("%d %s", w.Code, w.Body)
				return
			}
		}
	})
}

// allocations is what an accepted event costs in BenchmarkAccept, and how the next
// feature knows that it made it dearer.
const allocations = 12

func TestAllocations(t *testing.T) {
	got := testing.Benchmark(BenchmarkAccept)
	t.Logf("%s %s", got, got.MemString())
	if got.N == 0 || got.AllocsPerOp() > allocations*6/5 {
		t.Errorf("%d allocations for an accepted event, more than a fifth over %d", got.AllocsPerOp(), allocations)
	}
}
