package journal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

func TestDropPublishedGivesTheDiskBack(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir(), func(o *Options) { o.MaxBytes = 64 << 20 })
	random := rand.NewChaCha8([32]byte{}) // no compression makes it smaller
	body := make([]byte, 64<<10)
	for n := range 800 {
		random.Read(body)
		appendOne(t, j, Record{Key: fmt.Sprint(n), Header: []byte("h"), Body: body})
	}
	for seq := uint64(1); seq <= 700; seq++ {
		markPublished(t, j, seq)
	}
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	before := j.DiskBytes()
	dropped, _, err := j.DropPublished(1 << 40)
	if err != nil || dropped != 700 {
		t.Fatalf("dropped %d, %v; want the 700 published", dropped, err)
	}
	t.Logf("%d bytes on disk", before)
	testwait.Eventually(t, "the files are gone", func() bool { return j.DiskBytes() < before/2 })
	if got := len(pending(t, j)); got != 100 {
		t.Errorf("got %d pending, want 100", got)
	}
	for seq := uint64(701); seq <= 800; seq++ {
		if _, _, err := j.Load(seq); err != nil {
			t.Fatal(err)
		}
	}
}

// What is published while DropPublished looks for bodies to drop is never looked at by the next.
func TestDropPublishedWhilePublishing(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir())
	const n = 3000
	var seqs []uint64
	done := make(chan uint64, n)
	sem := make(chan struct{}, 256)
	for i := range n {
		sem <- struct{}{}
		go func() {
			r := record(i)
			r.Body = bytes.Repeat([]byte{byte(i)}, 1000)
			res, err := j.Append(t.Context(), r)
			if err != nil {
				t.Error(err)
			}
			<-sem
			done <- res.Seq
		}()
	}
	for range n {
		<-done
	}
	held := make([]uint64, 0)
	for _, seq := range pending(t, j) {
		if seq > 100 && seq <= 1100 { // a held subject
			held = append(held, seq)
		} else {
			seqs = append(seqs, seq)
		}
	}
	markPublished(t, j, seqs...)
	var marks []Mark
	for _, seq := range held {
		item, _, err := j.Load(seq)
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, Mark{Item: item, StreamSeq: 100000 + seq, At: time.Now()})
	}
	finished, over := make(chan struct{}), make(chan struct{})
	go func() { // the subject is released while room is being made
		defer close(finished)
		for met := false; !met; {
			select {
			case <-over: // it was too fast to be met
				met = true
			default:
				if met = !j.moving.TryLock(); !met {
					j.moving.Unlock()
				}
			}
		}
		time.Sleep(time.Millisecond)
		if _, err := j.MarkPublished(marks); err != nil {
			t.Error(err)
		}
	}()
	dropped, _, err := j.DropPublished(1 << 40)
	close(over)
	if err != nil {
		t.Fatal(err)
	}
	<-finished
	again, _, err := j.DropPublished(1 << 40)
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for e, err := range j.AllPublished(0) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Body(e.Seq); err == nil {
			left++
		}
	}
	t.Logf("dropped %d and %d", dropped, again)
	if left > 0 {
		t.Errorf("%d published bodies are left that no DropPublished finds: the journal stays full", left)
	}
}

// One damaged block with bodies of published records.
func TestDamagedPublishedBody(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := open(t, dir)
	var seqs []uint64
	for n := 1; n <= 100; n++ {
		r := record(n)
		r.Body = bytes.Repeat([]byte{byte(n), byte(n * 7), byte(n * n), byte(n >> 1)}, 500)
		for i := range r.Body {
			r.Body[i] = byte(i * n * 2654435761 >> 7)
		}
		seqs = append(seqs, appendOne(t, j, r).Seq)
	}
	markPublished(t, j, seqs...)
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	tables := bySize(t, dir, "*.sst")
	flipByte(t, tables[0].name, tables[0].size/3)
	j = open(t, dir)
	if _, _, err := j.DropPublished(1 << 40); err != nil {
		t.Errorf("DropPublished: %v", err)
	}
	later := time.Now().Add(time.Hour)
	if _, err := j.Trim(later, later); err != nil {
		t.Errorf("Trim: %v", err)
	}
	if _, err := j.Unpublish(1, func(Item) {}); err != nil {
		t.Errorf("Unpublish: %v", err)
	}
}
