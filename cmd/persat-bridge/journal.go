package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/reason"
	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
)

func (p *program) journalCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "journal stat|verify|dump|repair",
		Short: "Inspect or repair the journal of a stopped bridge",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("say what to do: journal stat, verify, dump or repair")}
		},
	}
	c.AddCommand(p.journalStat(), p.journalVerify(), p.journalDump(), p.journalRepair())
	return c
}

// journalFlags say which journal.
type journalFlags struct{ config, dir string }

func (o *journalFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&o.config, "config", "c", "", "configuration file; its journal.dir is meant (default: ./config.yaml when it exists)")
	c.Flags().StringVar(&o.dir, "dir", "", "the journal's directory, instead of the configured one")
}

// journalDir is the directory of the journal that is meant, when one is there.
func (p *program) journalDir(o *journalFlags) (string, error) {
	dir := o.dir
	if dir == "" {
		cfg, _, err := p.loadWithoutSecrets(o.config)
		if err != nil {
			return "", err
		}
		dir = cfg.Journal.Dir
	}
	switch files, err := os.ReadDir(dir); {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(files) == 0:
		return "", fmt.Errorf("no journal in %s: nothing was accepted there yet, or it is elsewhere: name it with --dir, or its configuration with -c", dir)
	case err != nil:
		return "", fmt.Errorf("--dir: %w", err)
	}
	return dir, nil
}

// reading opens the journal for reading, runs f, and closes it.
func (p *program) reading(o *journalFlags, f func(*journal.Journal) error) error {
	dir, err := p.journalDir(o)
	if err != nil {
		return err
	}
	j, err := journal.Open(journal.Options{Dir: dir, ReadOnly: true})
	if errors.Is(err, journal.ErrLocked) {
		return fmt.Errorf("the bridge is running on %s: 'persat-bridge status' says how it is; this command reads the journal of a stopped one", dir)
	}
	if err != nil {
		return err
	}
	return errors.Join(f(j), j.Close())
}

// journalStats is what 'journal stat --json' prints.
type journalStats struct {
	Next          uint64     `json:"next_record"`
	Pending       int        `json:"pending"`
	Published     int        `json:"published"`
	Dead          int        `json:"dead"`
	Discarded     int        `json:"discarded"`
	DiskBytes     uint64     `json:"disk_bytes"`
	OldestPending *time.Time `json:"oldest_pending,omitempty"`
}

func (p *program) journalStat() *cobra.Command {
	var o journalFlags
	c := &cobra.Command{Use: "stat", Short: "Count the records of the journal", Args: noArgs}
	o.add(c)
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(*cobra.Command, []string) error {
		return p.reading(&o, func(j *journal.Journal) error {
			s := journalStats{Next: j.Next(), DiskBytes: j.DiskBytes()}
			for e, err := range j.Newest(0) {
				if err != nil {
					return err
				}
				switch e.State {
				case journal.Pending:
					s.Pending++
					appended := e.Appended.UTC()
					s.OldestPending = &appended
				case journal.Published:
					s.Published++
				case journal.Dead:
					s.Dead++
				case journal.Discarded:
					s.Discarded++
				}
			}
			if *asJSON {
				return p.printJSON(s)
			}
			fmt.Fprintf(p.stdout, "pending    %d\npublished  %d (kept for replay, healing and dedup)\ndead       %d\ndiscarded  %d (kept for dedup)\nnext       record %d\non disk    %d bytes\n", s.Pending, s.Published, s.Dead, s.Discarded, s.Next, s.DiskBytes)
			if s.OldestPending != nil {
				fmt.Fprintf(p.stdout, "oldest     pending since %s\n", s.OldestPending.Local().Format(time.RFC3339))
			}
			return nil
		})
	}
	return c
}

func (p *program) journalVerify() *cobra.Command {
	var o journalFlags
	c := &cobra.Command{Use: "verify", Short: "Read all of it and check every record against its checksums", Args: noArgs}
	o.add(c)
	c.RunE = func(*cobra.Command, []string) error {
		return p.reading(&o, func(j *journal.Journal) error {
			records, bad, left := 0, 0, 0
			for e, err := range j.Newest(0) {
				records++
				if err == nil {
					err = verifyRecord(j, e)
				}
				switch {
				case err == nil:
				case isDamagedLetter(e):
					left++
					p.say("record %d (%s): its body is damaged, and it is a dead letter for that:\n  have the sender send it again, and discard this one on the running bridge:\n  persat-bridge dead discard --record %d\n", e.Seq, describe(e), e.Seq)
				default:
					bad++
					p.say("record %d: %v\n", e.Seq, err)
				}
			}
			if bad > 0 {
				return fmt.Errorf("%d of %d records are damaged: 'persat-bridge journal repair --to DIR' saves the others", bad, records)
			}
			if left > 0 {
				return p.say("%s: all whole but %s; there is nothing to repair\n", counted(records, "record", "records"), counted(left, "dead letter", "dead letters"))
			}
			return p.say("%d records, all whole\n", records)
		})
	}
	return c
}

// isDamagedLetter says whether a record is a dead letter because its body is damaged, since
// a repair or since the bridge was to publish it: no repair gives it its body back.
func isDamagedLetter(e journal.Entry) bool {
	return e.State == journal.Dead && reason.Explain(e.Reason).Code == "damaged"
}

// describe tells a record's type and age, as far as they can be read.
func describe(e journal.Entry) string {
	r, err := bridge.RecordOf(e)
	if err != nil {
		return "its header cannot be read"
	}
	return fmt.Sprintf("%s %s, accepted %s", r.Type, r.ID, r.Accepted.Local().Format(time.RFC3339))
}

func verifyRecord(j *journal.Journal, e journal.Entry) error {
	if _, err := bridge.RecordOf(e); err != nil {
		return err
	}
	body, err := j.Body(e.Seq)
	if errors.Is(err, journal.ErrNotFound) && (e.State == journal.Published || e.State == journal.Discarded) {
		return nil // retention, a limit or an operator took it
	}
	if err != nil {
		return fmt.Errorf("body: %w", err)
	}
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:len(e.Digest)], e.Digest) {
		return errors.New("body: does not have its digest")
	}
	return nil
}

func (p *program) journalDump() *cobra.Command {
	var o journalFlags
	c := &cobra.Command{Use: "dump", Short: "Print every record as a line of JSON, the newest first", Args: noArgs}
	o.add(c)
	state := c.Flags().String("state", "", "only pending, published, dead or discarded ones")
	c.RunE = func(*cobra.Command, []string) error {
		switch journal.State(*state) {
		case "", journal.Pending, journal.Published, journal.Dead, journal.Discarded:
		default:
			return usageError{fmt.Errorf("--state: %q is not pending, published, dead or discarded", *state)}
		}
		return p.reading(&o, func(j *journal.Journal) error {
			damaged := 0
			for e, err := range j.Newest(0) {
				if err != nil {
					damaged++
					fmt.Fprintf(p.stderr, "record %d: %v\n", e.Seq, err)
					continue
				}
				if *state != "" && e.State != journal.State(*state) {
					continue
				}
				r, err := bridge.RecordOf(e)
				if err != nil {
					return err
				}
				if r.Body, err = j.Body(e.Seq); err != nil && !errors.Is(err, journal.ErrNotFound) {
					damaged++
					fmt.Fprintf(p.stderr, "record %d: body: %v\n", e.Seq, err)
				}
				d := dumped{Record: r}
				if utf8.Valid(r.Body) {
					text := string(r.Body)
					d.Body = &text
				} else {
					d.Base64 = r.Body
				}
				if err := p.printJSON(d); err != nil {
					return err
				}
			}
			if damaged > 0 {
				return fmt.Errorf("%s could not be read whole: 'persat-bridge journal repair --to DIR' saves the others", counted(damaged, "record", "records"))
			}
			return nil
		})
	}
	return c
}

// dumped is a record with its body as people read it, or, when that is no text, in
// base64.
type dumped struct {
	bridge.Record
	Body   *string `json:"body,omitempty"`
	Base64 []byte  `json:"body_base64,omitempty"`
}

func (p *program) journalRepair() *cobra.Command {
	var o journalFlags
	c := &cobra.Command{
		Use:   "repair --to DIR",
		Short: "Save what can be read of a damaged journal into a new one",
		Long: "Save what can be read of a damaged journal into a new one, and say what could not. The old one is not changed.\n" +
			"Afterwards move the old directory away and the new one into its place.",
		Args: noArgs,
	}
	o.add(c)
	to := c.Flags().String("to", "", "directory of the new journal; must not exist")
	c.RunE = func(*cobra.Command, []string) error {
		if *to == "" {
			return usageError{errors.New("--to: name a new directory")}
		}
		dir, err := p.journalDir(&o)
		if err != nil {
			return err
		}
		if config.Within(*to, dir) {
			return usageError{fmt.Errorf("--to: %s is in the old journal, which is not to be changed: name a directory elsewhere", *to)}
		}
		report, err := journal.Repair(dir, *to, zap.NewNop())
		if err != nil {
			return err
		}
		return p.showRepair(report, *to)
	}
	return c
}

func (p *program) showRepair(r journal.Report, to string) error {
	for _, note := range r.Notes {
		p.say("%s\n", note)
	}
	p.say("saved into %s: %d pending, %d published or discarded, %d dead\n", to, r.Pending, r.Published, r.Dead)
	for _, item := range r.Damaged {
		what := item.Key
		if record, err := bridge.RecordOf(journal.Entry{Item: item}); err == nil {
			what = fmt.Sprintf("%s %s, accepted %s", item.Key, record.Type, record.Accepted.Local().Format(time.RFC3339))
		}
		p.say("record %d (%s): its body is damaged; it is a dead letter now: have the sender send it again\n", item.Seq, what)
	}
	lost := 0
	for _, span := range r.Lost {
		lost += int(span.Last - span.First + 1)
		p.say("record(s) %s: nothing could be read\n", span)
	}
	for _, item := range r.Bodiless {
		p.say("record %d (%s): published, but its body is damaged: it can no longer be replayed, nor heal the stream\n", item.Seq, item.Key)
	}
	if lost+len(r.Damaged) > 0 {
		return fmt.Errorf("%s could not be saved", counted(lost+len(r.Damaged), "record", "records"))
	}
	if r.Unread > 0 {
		return fmt.Errorf("%s at the end of the log could not be read: the last events that were accepted may be missing: have the sender send those again", counted(r.Unread, "write", "writes"))
	}
	if len(r.Bodiless) > 0 {
		return p.say("no event was lost; %s here\n", counted(len(r.Bodiless), "published one lost its body", "published ones lost their bodies"))
	}
	return p.say("nothing was lost\n")
}
