package persat

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
)

// maxDepth is how deeply encoding/json lets objects and arrays nest. What it
// refuses, a consumer in Go cannot read.
const maxDepth = 10_000

// scanner walks through JSON (RFC 8259) once, checks it, and builds nothing:
//
//	for first := true; s.more('}', first); first = false {
//		key, value := s.key(), s.value(1)
//	}
//
// It agrees with json.Valid on what is JSON; a fuzz test holds it to that. It is
// here because every body is checked before it is answered, and the state machine
// of encoding/json, one byte a step, took more of that time than the signature.
// After anything that is no JSON it is bad and at the end of its data, so that every
// loop over it ends. It never recurses: how deep a stranger nests costs nothing.
type scanner struct {
	data []byte
	pos  int
	bad  bool
}

// newScanner is at the first value of data.
func newScanner(data []byte) *scanner { return &scanner{data: data, pos: skipSpace(data, 0)} }

// valid reports whether data is one JSON value. Like json.Valid it does not look
// whether strings are UTF-8.
func valid(data []byte) bool {
	s := newScanner(data)
	s.value(0)
	return s.end()
}

// end reports whether there was nothing wrong and there is nothing more.
func (s *scanner) end() bool { return !s.bad && skipSpace(s.data, s.pos) == len(s.data) }

func (s *scanner) fail() { s.pos, s.bad = len(s.data), true }

// at is the byte that comes next, 0 at the end.
func (s *scanner) at() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

// open steps into the object or array that comes next.
func (s *scanner) open() { s.pos++ }

// more steps to the next member or item of a container, over the comma when it is
// not the first, or out of the container and reports false.
func (s *scanner) more(closing byte, first bool) bool {
	s.pos = skipSpace(s.data, s.pos)
	switch c := s.at(); {
	case c == closing:
		s.pos++
		return false
	case first && c != 0:
		return true
	case c == ',':
		s.pos = skipSpace(s.data, s.pos+1)
		return true
	}
	s.fail()
	return false
}

// key returns the key that comes next, quoted, and steps to its value.
func (s *scanner) key() []byte {
	begin := s.pos
	if s.at() != '"' {
		s.fail()
		return nil
	}
	end := skipString(s.data, s.pos)
	if end < 0 {
		s.fail()
		return nil
	}
	if s.pos = skipSpace(s.data, end); s.at() != ':' {
		s.fail()
		return nil
	}
	s.pos = skipSpace(s.data, s.pos+1)
	return s.data[begin:end]
}

// value returns the value that comes next, nil when it is none, and steps behind it.
// It lies in so many containers already.
func (s *scanner) value(depth int) []byte {
	begin := s.pos
	end := skipValue(s.data, s.pos, maxDepth-depth)
	if end < 0 {
		s.fail()
		return nil
	}
	s.pos = end
	return s.data[begin:end]
}

// skipValue returns the index behind the value that begins at data[i], or -1 when
// there is none, or one that nests deeper than that.
func skipValue(data []byte, i, deepest int) int {
	if i < len(data) && (data[i] == '{' || data[i] == '[') {
		return skipContainer(data, i, deepest)
	}
	return skipScalar(data, i)
}

// skipScalar is skipValue of what is neither object nor array.
func skipScalar(data []byte, i int) int {
	if i >= len(data) {
		return -1
	}
	switch c := data[i]; {
	case c == '"':
		return skipString(data, i)
	case c == '-' || isDigit(c):
		return skipNumber(data, i)
	case c == 't':
		return skipWord(data, i, "true")
	case c == 'f':
		return skipWord(data, i, "false")
	case c == 'n':
		return skipWord(data, i, "null")
	}
	return -1
}

// skipContainer is skipValue of an object or array.
func skipContainer(data []byte, i, deepest int) int {
	var nesting [maxDepth/64 + 1]uint64 // bit n: the container at depth n+1 is an object
	depth := 0
	object := func() bool { return nesting[(depth-1)/64]>>((depth-1)%64)&1 == 1 }
value:
	if i < len(data) && (data[i] == '{' || data[i] == '[') {
		if depth == deepest {
			return -1
		}
		word, bit, closing := &nesting[depth/64], uint64(1)<<(depth%64), data[i]+2
		depth++
		if *word &^= bit; closing == '}' {
			*word |= bit
		}
		if i = skipSpace(data, i+1); i < len(data) && data[i] == closing {
			depth--
			i++
			goto after
		}
		if closing == '}' {
			goto key
		}
		goto value
	}
	if i = skipScalar(data, i); i < 0 {
		return -1
	}
after:
	if depth == 0 {
		return i
	}
	if i = skipSpace(data, i); i >= len(data) {
		return -1
	}
	switch c := data[i]; {
	case c == '}' && object(), c == ']' && !object():
		depth--
		i++
		goto after
	case c == ',' && object():
		i = skipSpace(data, i+1)
		goto key
	case c == ',':
		i = skipSpace(data, i+1)
		goto value
	}
	return -1
key:
	if i >= len(data) || data[i] != '"' {
		return -1
	}
	if i = skipString(data, i); i < 0 {
		return -1
	}
	if i = skipSpace(data, i); i >= len(data) || data[i] != ':' {
		return -1
	}
	i = skipSpace(data, i+1)
	goto value
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index behind the string that begins at data[i], or -1 when
// it is none.
func skipString(data []byte, i int) int {
	for i++; ; {
		i = plainEnd(data, i)
		if i >= len(data) {
			return -1
		}
		switch data[i] {
		case '"':
			return i + 1
		case '\\':
			if i = skipEscape(data, i); i < 0 {
				return -1
			}
		default: // a control character
			return -1
		}
	}
}

// plainEnd returns the index of the first byte from data[i] on that is not simply
// a part of a string: a quote, a backslash or a control character.
func plainEnd(data []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(data); i += 8 {
		// Eight bytes at a time. The top bit of a byte in found is set when it is
		// one of the three; above the lowest such byte it may be set wrongly.
		w := binary.LittleEndian.Uint64(data[i:])
		quote, backslash := w^(ones*'"'), w^(ones*'\\')
		found := ((w-ones*' ')&^w | (quote-ones)&^quote | (backslash-ones)&^backslash) & tops
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(data) && data[i] != '"' && data[i] != '\\' && data[i] >= ' ' {
		i++
	}
	return i
}

// skipEscape returns the index behind the escape that begins at data[i], or -1.
func skipEscape(data []byte, i int) int {
	if i+1 >= len(data) {
		return -1
	}
	switch data[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		if i+6 > len(data) {
			return -1
		}
		for _, c := range data[i+2 : i+6] {
			if !isDigit(c) && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return -1
			}
		}
		return i + 6
	}
	return -1
}

// skipNumber returns the index behind the number that begins at data[i], or -1.
func skipNumber(data []byte, i int) int {
	digits := func() bool {
		begin := i
		for i < len(data) && isDigit(data[i]) {
			i++
		}
		return i > begin
	}
	if data[i] == '-' {
		i++
	}
	if i < len(data) && data[i] == '0' {
		i++
	} else if !digits() {
		return -1
	}
	if i < len(data) && data[i] == '.' {
		i++
		if !digits() {
			return -1
		}
	}
	if i < len(data) && (data[i] == 'e' || data[i] == 'E') {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		if !digits() {
			return -1
		}
	}
	return i
}

func skipWord(data []byte, i int, word string) int {
	if len(data)-i < len(word) || string(data[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// unquote returns the text of a JSON string, nil of nothing. Escapes are rare in what this
// package looks at, so they are left to encoding/json, which also settles that
// a lone surrogate reads as it does for every consumer in Go.
func unquote(quoted []byte) []byte {
	if len(quoted) < 2 {
		return nil
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return nil // not reached: the string is part of valid JSON
	}
	return []byte(text)
}
