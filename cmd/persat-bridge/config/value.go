package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// setText sets v to what the text of a value or of a list's entry means for its
// type. The error holds no secret: texts of a Secret and of Servers are taken as
// they are.
func setText(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%s is not a duration: write it like 72h", quote(text))
		}
		*p = d
	case *Size:
		n, err := ParseSize(text)
		if err != nil {
			return err
		}
		*p = n
	case *netip.Prefix:
		r, err := parsePrefix(text)
		if err != nil {
			return err
		}
		*p = r
	case *bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%s is neither true nor false", quote(text))
		}
		*p = text == "true"
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%s is not a whole number", quote(text))
		}
		*p = n
	case *float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%s is not a number", quote(text))
		}
		*p = f
	default: // string, Secret, Servers
		v.SetString(text)
	}
	return nil
}

// parsePrefix reads a range or a bare address. An IPv4 one in IPv6 clothes is
// taken as IPv4, as which its traffic arrives.
func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4In6() {
		p, err = p.Addr().Unmap().Prefix(p.Bits() - 96)
	}
	if err != nil {
		return p, fmt.Errorf("%s is not an address or a range: write it like 192.0.2.0/24", quote(s))
	}
	return p.Masked(), nil
}

// unsetError: a ${VAR} without a default, and no such variable.
type unsetError struct{ variable string }

func (e unsetError) Error() string {
	return fmt.Sprintf("the variable %s is not set: set it, or write ${%s:-default}", e.variable, e.variable)
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${VAR} and ${VAR:-default}, once: what comes out of a variable
// is not looked at again. A variable in unclean has a mistake. Its errors never show the
// text around.
func expand(text string, env map[string]string, unclean map[string]error) (string, error) {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "${")
		if !found {
			out.WriteString(text)
			return out.String(), nil
		}
		if plain, escaped := strings.CutSuffix(before, "$"); escaped {
			out.WriteString(plain + "${")
			text = after
			continue
		}
		body, rest, closed := strings.Cut(after, "}")
		name, fallback, optional := strings.Cut(body, ":-")
		if !closed || !variableName.MatchString(name) {
			return "", errors.New("a ${ is not followed by a variable's name and }: write ${VAR} or ${VAR:-default}, or $${ for the characters themselves")
		}
		if strings.Contains(fallback, "${") {
			return "", fmt.Errorf("the default of ${%s} holds another variable, which is not supported", name)
		}
		out.WriteString(before)
		if err := unclean[name]; err != nil {
			return "", fmt.Errorf("the variable %s %w", name, err)
		}
		switch value := env[name]; {
		case value != "":
			out.WriteString(value)
		case optional:
			out.WriteString(fallback)
		default:
			return "", unsetError{name}
		}
		text = rest
	}
}
