package journal

import (
	"bytes"
	"slices"
	"testing"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// The store takes its tables in memory from the cache of blocks. When that had no more
// than they need, every look into a table read its index from the disk again.
func TestBlocksAreCachedBesideTablesInMemory(t *testing.T) {
	j := open(t, t.TempDir())
	all := make([]Record, 400) // each table in memory is twice as large as the one before, up to its full size
	for i := range all {
		all[i] = record(i)
		all[i].Body = bytes.Repeat([]byte("0123456789abcdef"), 100<<10/16)
	}
	for part := range slices.Chunk(all, 10) {
		if _, err := j.AppendAll(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	// A store that is behind with writing its tables has more of them in memory, for so long.
	testwait.Eventually(t, "no more tables in memory than are usual", func() bool { return j.db.Metrics().MemTable.Count <= 2 })
	for range 2 {
		if _, _, err := j.Load(1); err != nil {
			t.Fatal(err)
		}
	}
	if m := j.db.Metrics(); m.MemTable.Size < j.tables.size || m.BlockCache.Count == 0 {
		t.Errorf("with %d bytes of tables in memory, %d blocks are cached, want some", m.MemTable.Size, m.BlockCache.Count)
	}
}

// A backlog that drains leaves tables that are full of tombstones. They are merged once,
// behind it (ReclaimPending): to merge each of them took a fifth of the drain's processor time.
func TestDrainDoesNotMergeTombstones(t *testing.T) {
	j := open(t, t.TempDir())
	const n = 2000
	seqs := appendBacklog(t, j, n)
	for part := 0; part < n; part += n / 4 {
		for _, seq := range seqs[part : part+n/4] { // as a table that has hardly anything else
			if err := j.db.Delete(seqKey(prefixPending, seq), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	testwait.Eventually(t, "the store has looked at its tables", func() bool {
		m := j.db.Metrics()
		return m.Table.InitialStatsCollectionComplete && m.Table.PendingStatsCollectionCount == 0
	})
	j.merges.UpdateGetAllowedWithoutPermission()
	testwait.Eventually(t, "the store is at rest", func() bool {
		_, idle := tablesWritten(j)
		return idle
	})
	if m := j.db.Metrics(); m.Compact.TombstoneDensityCount != 0 {
		t.Errorf("%d tables were merged for their tombstones, want none before ReclaimPending", m.Compact.TombstoneDensityCount)
	}
}
