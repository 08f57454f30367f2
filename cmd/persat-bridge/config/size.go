package config

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. It is written plain, or with kB, MB, GB, TB
// (thousands) or KiB, MiB, GiB, TiB (1024s): 4MiB. Case matters, and a bare K or
// M is refused: it means either.
type Size int64

// The units that defaults and limits are written in.
const (
	KiB Size = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

// units is in the order that String prefers of two as short.
var units = []struct {
	name string
	size Size
}{
	{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3},
	{"B", 1},
}

// ParseSize reads what String writes, and every other way to write it.
func ParseSize(s string) (Size, error) {
	number, factor := s, Size(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			number, factor = strings.TrimSuffix(rest, " "), u.size
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%s is not a size: write it like 64KiB or 10GiB", quote(s))
	}
	if n > math.MaxInt64/uint64(factor) {
		return 0, fmt.Errorf("%s is more bytes than can be counted", quote(s))
	}
	return Size(n) * factor, nil
}

// String writes s in the unit that takes no fraction and the fewest digits: 64MB, and
// not 62500KiB.
func (s Size) String() string {
	shortest := ""
	for _, u := range units[:len(units)-1] {
		if s == 0 || s%u.size != 0 {
			continue
		}
		if text := strconv.FormatInt(int64(s/u.size), 10) + u.name; shortest == "" || len(text) < len(shortest) {
			shortest = text
		}
	}
	return cmp.Or(shortest, strconv.FormatInt(int64(s), 10))
}

// MarshalText writes s as the file would have it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
