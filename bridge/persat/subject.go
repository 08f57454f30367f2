package persat

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxTokenBytes is the length of the longest identity in a subject, escaped.
const maxTokenBytes = 128

// The tokens of events that are not about exactly one entity. An escaped identity
// has no tilde.
const (
	tokenNone = "~none"
	tokenMany = "~many"
)

// SubjectToken returns the last token of the subject of an event about entities,
// for a source with subject: entity, as in persat.workorder.closed.48. A consumer
// filters, purges and partitions by it.
//
// The token is the identity with every byte of its UTF-8 outside [A-Za-z0-9_-] as
// %XX, "~many" for several identities and "~none" for none. An identity whose token
// would be longer than 128 bytes becomes "~" and 32 hexadecimal digits of its
// SHA-256. Different identities have different tokens, and the token of one is
// always valid in a subject: it has no dot, no wildcard and no blank.
func SubjectToken(entities []string) string {
	switch {
	case len(entities) > 1:
		return tokenMany
	case len(entities) == 0 || entities[0] == "":
		return tokenNone
	}
	id := entities[0]
	size := 0
	for i := range len(id) {
		size++
		if !isWordByte(id[i]) {
			size += 2
		}
	}
	switch {
	case size > maxTokenBytes:
		sum := sha256.Sum256([]byte(id))
		return "~" + hex.EncodeToString(sum[:16])
	case size == len(id):
		return id
	}
	const digits = "0123456789ABCDEF"
	var token strings.Builder
	token.Grow(size)
	for i := range len(id) {
		if c := id[i]; isWordByte(c) {
			token.WriteByte(c)
		} else {
			token.Write([]byte{'%', digits[c>>4], digits[c&0xf]})
		}
	}
	return token.String()
}

// EntityOf returns the identity that a token of SubjectToken stands for. It returns
// false for the token of none or of several, for a hash, and for a text that
// SubjectToken does not return: take the identity from the header ce-subject or the
// payload then.
func EntityOf(token string) (string, bool) {
	if token == "" || len(token) > maxTokenBytes {
		return "", false
	}
	if strings.IndexByte(token, '%') < 0 {
		for i := range len(token) {
			if !isWordByte(token[i]) {
				return "", false
			}
		}
		return token, true
	}
	id := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		c := token[i]
		if c == '%' {
			if i+2 >= len(token) {
				return "", false
			}
			b, err := hex.DecodeString(token[i+1 : i+3])
			if err != nil {
				return "", false
			}
			c, i = b[0], i+2
		}
		id = append(id, c)
	}
	// One identity has one token: no lower-case digits, no needless escape.
	entity := string(id)
	return entity, SubjectToken([]string{entity}) == token
}
