package journal

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// metaPull, followed by a source's name, is how far that source has been pulled.
const metaPull meta = "pull/"

func pullOf(source string) meta { return metaPull + meta(source) }

// PullPosition is what SetPullPosition wrote last; nil when nothing was written.
func (j *Journal) PullPosition(source string) ([]byte, error) { return pullOf(source).read(j) }

// SetPullPosition keeps how far a source has been pulled. It does not wait for the disk.
// The store's log keeps the order of writes, so a crash that loses a record loses every
// position that was set after it.
func (j *Journal) SetPullPosition(source string, position []byte) error {
	return j.change("write pull position", func(b *pebble.Batch) error { return pullOf(source).setText(b, string(position)) })
}

// copyPullPositions takes over the positions of old, as far as they can be read.
func (j *Journal) copyPullPositions(batch *pebble.Batch, old *Journal) error {
	it, err := old.db.NewIter(&pebble.IterOptions{LowerBound: metaPull.key(), UpperBound: append(metaPull.key(), 0xff)})
	if err != nil {
		return nil // damaged: the sources begin as their start says
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			continue
		}
		if err := batch.Set(it.Key(), value, nil); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	_ = it.Close() // its errors are of what could not be read
	return nil
}
