package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// The store's log, as far as repair has to know it: blocks of 32 KiB, in them
// chunks, each with a checksum of its own; a record (one batch) is a full chunk,
// or a first, any middle ones and a last. A log file is used again for a later
// log, so a chunk names the log that it belongs to.
const (
	logBlock      = 32 << 10
	logHeader     = 11 // checksum 4, length 2, kind 1, log number 4
	logSyncHeader = logHeader + 8
)

// The kinds of chunks: those with a log number, and those that also have an
// offset up to which the log is known to be synced.
const (
	chunkFull = iota
	chunkFirst
	chunkMiddle
	chunkLast
)

// chunkAt reads the chunk of log number log at b[0], when a whole one is there.
func chunkAt(b []byte, log uint32) (position int, payload []byte, size int, ok bool) {
	if len(b) < logHeader {
		return 0, nil, 0, false
	}
	kind, header := int(b[6]), logHeader
	switch {
	case kind >= 5 && kind <= 8:
		position = kind - 5
	case kind >= 9 && kind <= 12:
		position, header = kind-9, logSyncHeader
	default:
		return 0, nil, 0, false
	}
	size = header + int(binary.LittleEndian.Uint16(b[4:]))
	if size > len(b) || binary.LittleEndian.Uint32(b[7:]) != log {
		return 0, nil, 0, false
	}
	sum := crc32.Checksum(b[6:size], castagnoli)
	if binary.LittleEndian.Uint32(b) != (sum>>15|sum<<17)+0xa282ead8 {
		return 0, nil, 0, false
	}
	return position, b[header:size], size, true
}

// provenDamage is where the last block of a log has a chunk that cannot be read although
// it had been synced: a later one says so. Without one it is where a crash cut the log
// off. Of the blocks before the last, the store finds that out by itself. It is not found
// always: the store's notes of how far the log is synced leave out blocks that were filled
// by one batch (Pebble 2.1).
func provenDamage(file []byte, log uint32) (at int, found bool) {
	end := 0 // of the blocks that have chunks of this log
	for start := 0; start < len(file); start += logBlock {
		if _, _, _, ok := chunkAt(file[start:min(start+logBlock, len(file))], log); ok {
			end = start
		}
	}
	// And the one after them, of which the first chunk may be what is damaged.
	for start := end; start <= end+logBlock && start < len(file); start += logBlock {
		bad := -1
		for block, i := file[start:min(start+logBlock, len(file))], 0; i < len(block); {
			_, _, size, ok := chunkAt(block[i:], log)
			switch {
			case !ok:
				if bad < 0 {
					bad = i
				}
				i++
			case bad >= 0 && block[i+6] >= 9 && binary.LittleEndian.Uint64(block[i+logHeader:]) > uint64(start+bad):
				return start + bad, true
			default:
				i += size
			}
		}
	}
	return 0, false
}

// logRecord is what could be read of one batch: whole, or bytes that the batch
// and perhaps its neighbours are somewhere in.
type logRecord struct {
	offset int
	data   []byte
	whole  bool
	tail   bool // nothing whole of this log comes after it
}

// readLog takes a log apart. Behind a damaged chunk it looks for the next whole
// one byte by byte; what is between them is part of a damaged record. So is what
// comes after the last whole chunk: most often a batch that was being written when
// the process ended, and was promised to nobody. It ends where the file still has
// chunks of the log that it held before.
func readLog(file []byte, log uint32) []logRecord {
	var records []logRecord
	var open *logRecord // a record whose last chunk is to come
	begin := func(offset int, whole bool) {
		open = &logRecord{offset: offset, whole: whole}
	}
	end := func() {
		if open != nil {
			records = append(records, *open)
			open = nil
		}
	}
	for start := 0; start < len(file); start += logBlock {
		block := file[start:min(start+logBlock, len(file))]
		boundary := true // a chunk has to begin here
		for at := 0; at < len(block); {
			position, payload, size, ok := chunkAt(block[at:], log)
			if !ok {
				if allZero(block[at:]) {
					break // the filling of a block
				}
				if otherLog(block[at:], log) {
					if open != nil {
						open.tail = !open.whole
					}
					end()
					return records
				}
				if open == nil {
					begin(start+at, false)
				}
				open.whole = false
				if payload, size := guessChunk(block[at:], log); boundary && size > 0 {
					open.data = append(open.data, payload...)
					at += size
					continue
				}
				if boundary { // a header that tells nothing; its length is known
					at = min(at+logSyncHeader, len(block))
					boundary = false
					continue
				}
				open.data = append(open.data, block[at])
				at++
				continue
			}
			boundary = true
			at += size
			// A damaged record ends where a whole one begins.
			if (position == chunkFull || position == chunkFirst) && open != nil {
				open.whole = false
				end()
			}
			if open == nil {
				begin(start+at-size, position == chunkFull || position == chunkFirst)
			}
			open.data = append(open.data, payload...)
			if position == chunkFull || position == chunkLast {
				end()
			}
		}
	}
	if open != nil {
		open.whole, open.tail = false, true // its last chunk never came
		end()
	}
	return records
}

// guessChunk reads a damaged chunk whose header may be whole: another chunk, or
// nothing, has to follow it. size is 0 when there is none.
func guessChunk(b []byte, log uint32) (payload []byte, size int) {
	if len(b) < logHeader || binary.LittleEndian.Uint32(b[7:]) != log {
		return nil, 0
	}
	header := logHeader
	switch {
	case b[6] >= 5 && b[6] <= 8:
	case b[6] >= 9 && b[6] <= 12:
		header = logSyncHeader
	default:
		return nil, 0
	}
	size = header + int(binary.LittleEndian.Uint16(b[4:]))
	if size > len(b) {
		return nil, 0
	}
	if _, _, _, ok := chunkAt(b[size:], log); !ok && !allZero(b[size:]) && !otherLog(b[size:], log) {
		return nil, 0
	}
	return b[header:size], size
}

// otherLog says whether b begins with a whole chunk of another log, or with the
// mark that ends this one.
func otherLog(b []byte, log uint32) bool {
	if len(b) < logHeader {
		return false
	}
	number := binary.LittleEndian.Uint32(b[7:])
	if number == log {
		return false
	}
	// The mark is an empty chunk without a checksum, of the number after ours.
	if number == log+1 && binary.LittleEndian.Uint32(b) == 0 && binary.LittleEndian.Uint16(b[4:]) == 0 {
		return true
	}
	_, _, _, ok := chunkAt(b, number)
	return ok
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
