package persat

import (
	"bytes"
	"encoding/json"
)

// cursor walks over the values of one JSON object or array, outermost level
// only. It checks nothing: json.Valid must have accepted the bytes before, and
// then every comma and colon is where it belongs and can be stepped over like
// white space. It never recurses, so depth costs it nothing.
type cursor struct {
	data []byte
	pos  int
}

// inside is a cursor before the first value of container, whose first byte is
// its opening bracket.
func inside(container []byte) cursor { return cursor{data: container, pos: 1} }

// next moves to the next value, or reports that there is none left.
func (c *cursor) next() bool {
	for {
		switch c.data[c.pos] {
		case ' ', '\t', '\r', '\n', ',', ':':
			c.pos++
		case '}', ']':
			return false
		default:
			return true
		}
	}
}

// member returns the key and the value of the object member that next moved to.
func (c *cursor) member() (key, value []byte) {
	key = c.value()
	c.next()
	return key, c.value()
}

// value returns the bytes of the value that next moved to, and moves behind it.
func (c *cursor) value() []byte {
	start := c.pos
	switch c.data[c.pos] {
	case '"':
		c.skipString()
	case '{', '[':
		c.skipContainer()
	default:
		c.skipLiteral()
	}
	return c.data[start:c.pos]
}

func (c *cursor) skipString() {
	for c.pos++; c.data[c.pos] != '"'; c.pos++ {
		if c.data[c.pos] == '\\' {
			c.pos++
		}
	}
	c.pos++
}

func (c *cursor) skipContainer() {
	depth := 0
	for {
		switch c.data[c.pos] {
		case '"':
			c.skipString()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		c.pos++
		if depth == 0 {
			return
		}
	}
}

func (c *cursor) skipLiteral() {
	for {
		switch c.data[c.pos] {
		case ' ', '\t', '\r', '\n', ',', '}', ']':
			return
		}
		c.pos++
	}
}

// unquote returns the text of a JSON string. Escapes are rare in what this
// package looks at, so they are left to encoding/json, which also settles that
// a lone surrogate reads as it does for every consumer in Go.
func unquote(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return nil // not reached: the string is part of valid JSON
	}
	return []byte(text)
}
