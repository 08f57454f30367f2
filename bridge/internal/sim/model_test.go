package sim

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// pair is the model beside a stream of a real nats-server.
type pair struct {
	*testing.T
	rng    *rand.Rand
	model  *stream
	server *natstest.Server
	js     jetstream.JetStream
	config jetstream.StreamConfig
	// keeps says that this round removes no messages. Only then its server loses tails: with
	// a tail it loses its notes of removals too, and then it may forget ids that it has.
	keeps bool
	done  []string // the steps so far
	// kept is the real store at an earlier moment, and keptModel the model's.
	kept      string
	batches   int
	keptModel *stream
}

// The model answers like the server, whatever is done to both.
func TestModelIsLikeTheServer(t *testing.T) {
	from, rounds, steps := rand.Uint64N(1<<40), 3, 120
	if *long {
		rounds = 40
	}
	if *seed != 0 {
		from, rounds = *seed, 1
	}
	for round := range rounds {
		at := from + uint64(round)
		t.Run(fmt.Sprintf("seed %d", at), func(t *testing.T) {
			p := &pair{T: t, rng: rand.New(rand.NewPCG(at, 0)), server: natstest.Start(t, ""), keeps: round%2 == 0}
			p.js = p.server.JetStream()
			p.recreate()
			for i := range steps {
				what := p.step()
				p.done = append(p.done, what)
				p.compare(fmt.Sprintf("step %d: %s", i, what))
				if t.Failed() {
					t.Logf("steps: %s", strings.Join(p.done, "; "))
					return
				}
			}
		})
	}
}

func (p *pair) step() string {
	switch n := p.rng.IntN(100); {
	case n < 55:
		return p.publish()
	case n < 70:
		return p.publishBatch()
	case n < 80 && p.keeps:
		return p.loseTail()
	case n < 83 && p.keeps, n >= 86 && n < 89 && p.keeps:
		return p.publish()
	case n < 73:
		subject := p.subject()
		p.model.purge(subject)
		p.check(p.real().Purge(p.Context(), jetstream.WithPurgeSubject(subject)))
		return "purge " + subject
	case n < 75:
		p.model.purge("")
		p.check(p.real().Purge(p.Context()))
		return "purge"
	case n < 83:
		return p.remove()
	case n < 86:
		p.stop()
		p.start()
		p.model.restart(time.Now())
		return "restart"
	case n < 89:
		return p.limit()
	case n < 91:
		p.stop()
		p.kept, p.keptModel = p.server.CopyStore(), p.model.clone()
		p.start()
		p.model.restart(time.Now())
		return "keep the store"
	case n < 93 && p.kept != "":
		p.stop()
		p.server.PutStore(p.kept)
		p.start()
		p.model = p.keptModel.clone()
		p.model.restart(time.Now())
		p.config = p.real().CachedInfo().Config
		return "put the store back"
	case n < 95:
		p.check(p.js.DeleteStream(p.Context(), "PERSAT"))
		// The server removes the files in its own time.
		testwait.Eventually(p, "the directory is gone", func() bool { return len(p.files("PERSAT")) == 0 })
		p.recreate()
		p.kept = ""
		return "recreate"
	case n < 97:
		return p.allowBatches()
	}
	return "nothing"
}

func (p *pair) check(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *pair) subject() string { return "p." + string(rune('a'+p.rng.IntN(3))) }

func (p *pair) real() jetstream.Stream {
	p.Helper()
	s, err := p.js.Stream(p.Context(), "PERSAT")
	p.check(err)
	return s
}

func (p *pair) recreate() {
	p.config = jetstream.StreamConfig{Name: "PERSAT", Subjects: []string{"p.>"}, Duplicates: time.Hour, AllowAtomicPublish: true}
	s := natstest.CreateStream(p.T, p.js, p.config)
	p.config = s.CachedInfo().Config
	p.model = newStream(s.CachedInfo().Created, time.Hour)
}

func (p *pair) stop() { p.server.Stop() }

func (p *pair) start() {
	p.server.Run()
	p.js = p.server.JetStream()
}

func (p *pair) publish() string {
	m := &message{subject: p.subject(), body: []byte(strings.Repeat("x", p.rng.IntN(200)))}
	if p.rng.IntN(6) > 0 {
		m.id = fmt.Sprint(p.rng.IntN(60))
	}
	real := &nats.Msg{Subject: m.subject, Data: m.body, Header: nats.Header{}}
	if m.id != "" {
		real.Header.Set(jetstream.MsgIDHeader, m.id)
	}
	m.at = time.Now()
	seq, duplicate, refused := p.model.publish(m)
	what := fmt.Sprintf("publish %q to %s", m.id, m.subject)
	ack, err := p.js.PublishMsg(p.Context(), real, jetstream.WithRetryAttempts(0))
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		if !refused || api.ErrorCode != 10077 {
			p.Errorf("%s: the server refuses (%v), the model: %v", what, err, refused)
		}
		return what
	}
	p.check(err)
	if refused || ack.Sequence != seq || ack.Duplicate != duplicate {
		p.Errorf("%s: the server answers %d, duplicate %v; the model %d, duplicate %v, refused %v", what, ack.Sequence, ack.Duplicate, seq, duplicate, refused)
	}
	return what
}

// publishBatch publishes an atomic batch. Its ids are seldom known already, for one that is
// refuses it.
func (p *pair) publishBatch() string {
	p.batches++
	var batch []*message
	var last *nats.Msg
	id := fmt.Sprintf("batch-%d", p.batches)
	what := "publish a batch of"
	for i := range 2 + p.rng.IntN(5) {
		m := &message{subject: p.subject(), id: fmt.Sprintf("%s-%d", id, i), body: []byte("x"), at: time.Now()}
		if p.rng.IntN(12) == 0 {
			m.id = fmt.Sprint(p.rng.IntN(60))
		}
		if i > 0 && p.rng.IntN(20) == 0 {
			m.id = batch[0].id
		}
		batch = append(batch, m)
		what += fmt.Sprintf(" %q", m.id)
	}
	for i, m := range batch {
		last = &nats.Msg{Subject: m.subject, Data: m.body, Header: nats.Header{
			jetstream.MsgIDHeader: {m.id}, "Nats-Batch-Id": {id}, "Nats-Batch-Sequence": {fmt.Sprint(i + 1)},
		}}
		if i < len(batch)-1 {
			p.check(p.js.Conn().PublishMsg(last))
		}
	}
	last.Header["Nats-Batch-Commit"] = []string{"1"}
	seq, refused := p.model.publishBatch(batch)
	answer, err := p.js.Conn().RequestMsg(last, 10*time.Second)
	p.check(err)
	var got struct {
		Seq   uint64
		Count int
		Error struct {
			Code int `json:"err_code"`
		}
	}
	p.check(json.Unmarshal(answer.Data, &got))
	if got.Error.Code != refused || refused == 0 && (got.Seq != seq || got.Count != len(batch)) {
		p.Errorf("%s: the server answers %s; the model %d, refused %d", what, answer.Data, seq, refused)
	}
	return fmt.Sprintf("%s: %d", what, refused)
}

// allowBatches lets the stream take batches, or not any more.
func (p *pair) allowBatches() string {
	p.model.batches = !p.model.batches
	p.config.AllowAtomicPublish = p.model.batches
	_, err := p.js.UpdateStream(p.Context(), p.config)
	p.check(err)
	return fmt.Sprintf("batches: %v", p.model.batches)
}

func (p *pair) remove() string {
	all := p.model.sequences()
	if len(all) == 0 {
		return "nothing to remove"
	}
	seq := all[p.rng.IntN(len(all))]
	if p.rng.IntN(2) == 0 {
		seq = all[len(all)-1]
	}
	p.model.remove(seq)
	p.check(p.real().DeleteMsg(p.Context(), seq))
	return fmt.Sprintf("remove %d", seq)
}

func (p *pair) limit() string {
	p.config.MaxMsgs, p.config.MaxMsgsPerSubject, p.config.Discard = -1, -1, jetstream.DiscardOld
	p.model.maxMessages, p.model.maxPerSubject, p.model.discardNew = 0, 0, false
	switch p.rng.IntN(4) {
	case 0:
		p.model.maxMessages = 5 + p.rng.IntN(40)
	case 1:
		p.model.maxMessages, p.model.discardNew = max(5+p.rng.IntN(40), len(p.model.messages)), true
		p.config.Discard = jetstream.DiscardNew
	case 2:
		p.model.maxPerSubject = 2 + p.rng.IntN(20)
	}
	if p.model.maxMessages > 0 {
		p.config.MaxMsgs = int64(p.model.maxMessages)
	}
	if p.model.maxPerSubject > 0 {
		p.config.MaxMsgsPerSubject = int64(p.model.maxPerSubject)
	}
	_, err := p.js.UpdateStream(p.Context(), p.config)
	p.check(err)
	p.model.enforce()
	return fmt.Sprintf("limit %d, %d a subject, discard new %v", p.model.maxMessages, p.model.maxPerSubject, p.model.discardNew)
}

// loseTail is a power cut of the server after it has written its index, and before the end
// of its newest block was on disk.
func (p *pair) loseTail() string {
	p.stop()
	blocks := p.files(".blk")
	cut := "no block"
	if len(blocks) > 0 {
		newest := slices.MaxFunc(blocks, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
		info, err := os.Stat(newest)
		p.check(err)
		p.check(os.Truncate(newest, info.Size()-info.Size()/int64(3+p.rng.IntN(5))))
		cut = fmt.Sprintf("%s of %d bytes", filepath.Base(newest), info.Size())
	}
	p.start()
	// How many are gone is the server's to say, and whether it still knows of them.
	info, err := p.real().Info(p.Context(), jetstream.WithDeletedDetails(true))
	p.check(err)
	after, before := uint64(0), p.model.last
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		if !slices.Contains(info.State.Deleted, seq) {
			after = seq
		}
	}
	p.model.losePower(after, info.State.LastSeq == before, time.Now())
	return fmt.Sprintf("lose the tail behind %d of %d: %s", after, before, cut)
}

// files are what the server has on disk whose names end so.
func (p *pair) files(end string) (found []string) {
	err := filepath.WalkDir(p.server.Store, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, end) {
			found = append(found, path)
		}
		return err
	})
	if !errors.Is(err, fs.ErrNotExist) { // removed meanwhile
		p.check(err)
	}
	return found
}

// compare asks both for all that there is to see.
func (p *pair) compare(what string) {
	p.Helper()
	info, err := p.real().Info(p.Context(), jetstream.WithDeletedDetails(true))
	p.check(err)
	s := info.State
	got := fmt.Sprintf("%d messages, first %d, last %d, %d deleted", s.Msgs, s.FirstSeq, s.LastSeq, s.NumDeleted)
	want := fmt.Sprintf("%d messages, first %d, last %d, %d deleted", len(p.model.messages), p.model.firstSaid(), p.model.last, p.model.holes())
	if got != want {
		p.Errorf("%s: the server has %s; the model %s", what, got, want)
	}
	for _, seq := range p.model.sequences() {
		m, err := p.real().GetMsg(p.Context(), seq)
		if err != nil {
			p.Errorf("%s: message %d: %v", what, seq, err)
			continue
		}
		if want := p.model.messages[seq]; m.Subject != want.subject || m.Header.Get(jetstream.MsgIDHeader) != want.id {
			p.Errorf("%s: message %d is %q on %s, in the model %q on %s", what, seq, m.Header.Get(jetstream.MsgIDHeader), m.Subject, want.id, want.subject)
		}
	}
}

// clone copies a stream; its messages are the same.
func (s *stream) clone() *stream {
	c := *s
	c.messages, c.ids = maps.Clone(s.messages), maps.Clone(s.ids)
	return &c
}
