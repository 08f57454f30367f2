package journal

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
)

// tableFile is a table of the store, in which single damaged bytes are corrected. Each
// block has a CRC-32C. Of all blocks that differ in one byte from the damaged one, only one
// has that checksum (but for one in thousands of cases; then the records' own checksums
// tell). So a byte in the index, without which no block of the table is found, costs no
// record.
type tableFile struct {
	bytes     []byte
	corrected []int // the offsets of bytes
	known     []block.Handle
}

// correct goes from the footer to the index, and from there to every block of data. What
// else there is, such as the filter, is found between the blocks that are known by then.
func (t *tableFile) correct() {
	t.correctIndexed()
	slices.SortFunc(t.known, func(a, b block.Handle) int { return cmp.Compare(a.Offset, b.Offset) })
	end := uint64(0)
	for _, h := range t.known {
		if h.Offset > end {
			t.correctBetween(int(end), int(h.Offset))
		}
		end = h.Offset + h.Length + block.TrailerLen
	}
}

func (t *tableFile) correctIndexed() {
	index, ok := t.footer()
	if !ok {
		return
	}
	children := t.children(index)
	if len(children) == 0 {
		return
	}
	leaves := children[0].Offset > 0 // the data begin at 0: so these are indexes themselves
	for _, child := range children {
		if !leaves {
			t.payload(child)
			continue
		}
		for _, leaf := range t.children(child) {
			t.payload(leaf)
		}
	}
}

// footer is where the index is. The block of meta data stands before it in the footer.
func (t *tableFile) footer() (index block.Handle, ok bool) {
	const magic = "\xf0\x9f\xaa\xb3\xf0\x9f\xaa\xb3"
	n := len(t.bytes)
	if n < 61 || string(t.bytes[n-len(magic):]) != magic {
		return index, false
	}
	size := 53
	switch version := binary.LittleEndian.Uint32(t.bytes[n-len(magic)-4:]); {
	case version == 6:
		size = 57
	case version > 6:
		size = 61
	}
	footer := t.bytes[n-size:]
	if footer[0] != byte(block.ChecksumTypeCRC32c) {
		return index, false
	}
	meta, used := block.DecodeHandle(footer[1:])
	if used == 0 {
		return index, false
	}
	t.payload(meta)
	index, used = block.DecodeHandle(footer[1+used:])
	return index, used > 0
}

// children are the blocks that an index block names.
func (t *tableFile) children(index block.Handle) (handles []block.Handle) {
	payload, kind, ok := t.payload(index)
	if !ok {
		return nil
	}
	indicator := block.CompressionIndicator(kind)
	size, err := block.DecompressedLen(indicator, payload)
	if err != nil {
		return nil
	}
	decoded := make([]byte, size) // aligned, as its reader asks
	if err := block.DecompressInto(indicator, payload, decoded); err != nil {
		return nil
	}
	var it colblk.IndexIter
	if err := it.Init(pebble.DefaultComparer, decoded, block.IterTransforms{}); err != nil {
		return nil
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		h, err := it.BlockHandleWithProperties()
		if err != nil {
			return nil
		}
		handles = append(handles, h.Handle)
	}
	return handles
}

// maxBetween is up to where blocks are looked for whose bounds are not known.
const maxBetween = 1 << 20

// correctBetween corrects the one damaged block between from and to: the blocks before it
// and behind it are whole, which shows where they end and begin.
func (t *tableFile) correctBetween(from, to int) {
	if to-from > maxBetween {
		return
	}
	for from < to {
		length := t.wholeFrom(from, to)
		if length == 0 {
			break
		}
		from += length
	}
	for from < to {
		begin := to - block.TrailerLen - 1
		for begin >= from && !t.whole(begin, to) {
			begin--
		}
		if begin < from {
			t.payload(block.Handle{Offset: uint64(from), Length: uint64(to - from - block.TrailerLen)})
			return
		}
		to = begin
	}
}

// wholeFrom is the length of the whole block that begins at from; 0 when there is none.
func (t *tableFile) wholeFrom(from, to int) int {
	sum := ^uint32(0)
	for i := from; i+4 < to; i++ {
		sum = castagnoli[byte(sum)^t.bytes[i]] ^ sum>>8
		if ^sum == storedSum(t.bytes[i+1:]) && i > from {
			return i + 5 - from
		}
	}
	return 0
}

// whole says whether the bytes from begin to end are one block.
func (t *tableFile) whole(begin, end int) bool {
	return crc32.Checksum(t.bytes[begin:end-4], castagnoli) == storedSum(t.bytes[end-4:])
}

// storedSum is the checksum that b begins with: the store rotates it and adds a constant.
func storedSum(b []byte) uint32 {
	rotated := binary.LittleEndian.Uint32(b) - 0xa282ead8
	return rotated<<15 | rotated>>17
}

// payload is a block's bytes and its kind of compression, with a damaged byte corrected.
func (t *tableFile) payload(h block.Handle) (payload []byte, kind byte, ok bool) {
	end := h.Offset + h.Length + block.TrailerLen
	if end > uint64(len(t.bytes)) || end < h.Offset {
		return nil, 0, false
	}
	t.known = append(t.known, h)
	sealed := t.bytes[h.Offset : end-4] // the kind, too, is under the checksum
	want := storedSum(t.bytes[end-4:])
	if got := crc32.Checksum(sealed, castagnoli); got != want {
		at, difference, found := damagedByte(len(sealed), got^want)
		if !found {
			return nil, 0, false
		}
		sealed[at] ^= difference
		t.corrected = append(t.corrected, int(h.Offset)+at)
	}
	return sealed[:h.Length], sealed[h.Length], true
}

// damagedByte finds the one byte of n whose damage makes this difference between two
// checksums: it takes the difference back byte by byte, from the end on, to one that a
// single byte makes.
func damagedByte(n int, difference uint32) (at int, damage byte, found bool) {
	for at := n - 1; at >= 0; at-- {
		damage := castagnoliByTop[difference>>24]
		if castagnoli[damage] == difference {
			return at, damage, true
		}
		difference = (difference^castagnoli[damage])<<8 | uint32(damage)
	}
	return 0, 0, false
}

// castagnoliByTop is the index in the table of checksums by the top byte of its entry.
var castagnoliByTop = func() (byTop [256]byte) {
	for i, entry := range castagnoli {
		byTop[entry>>24] = byte(i)
	}
	return byTop
}()

// note says in the report what was corrected.
func (t *tableFile) note(name string, report *Report) {
	for _, at := range t.corrected {
		report.Notes = append(report.Notes, fmt.Sprintf("%s: a damaged byte, at %d, is corrected", name, at))
	}
}
