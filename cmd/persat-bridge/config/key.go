package config

import (
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// A key is a path of yaml names: nats.stream.name. This file knows the struct's
// keys; the document and the environment both go by it, so that neither can
// know a key that the other does not.

var (
	prefixType  = reflect.TypeFor[netip.Prefix]()
	sourcesType = reflect.TypeFor[map[string]Source]()
	plainName   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// isSection says whether t has keys of its own.
func isSection(t reflect.Type) bool { return t.Kind() == reflect.Struct && t != prefixType }

// names returns the keys of a section, in the struct's order.
func names(t reflect.Type) []string {
	var all []string
	for field := range t.Fields() {
		if name := field.Tag.Get("yaml"); name != "-" {
			all = append(all, name)
		}
	}
	return all
}

// field returns the value of the key name of a section.
func field(section reflect.Value, name string) (reflect.Value, bool) {
	for field, v := range section.Fields() {
		if name != "-" && field.Tag.Get("yaml") == name {
			return v, true
		}
	}
	return reflect.Value{}, false
}

// eachKey visits every key that holds a value or a list, of every source too.
// What visit sets is kept.
func eachKey(v reflect.Value, path string, visit func(key string, v reflect.Value)) {
	switch {
	case v.Type() == sourcesType:
		sources := v.Interface().(map[string]Source)
		for _, name := range slices.Sorted(maps.Keys(sources)) {
			s := sources[name]
			eachKey(reflect.ValueOf(&s).Elem(), join(path, name), visit)
			sources[name] = s
		}
	case isSection(v.Type()):
		for field, fv := range v.Fields() {
			if name := field.Tag.Get("yaml"); name != "-" {
				eachKey(fv, join(path, name), visit)
			}
		}
	default:
		visit(path, v)
	}
}

// join appends a name to a path. A name that a stranger to the rules chose is
// quoted, so that a message stays one line.
func join(path, name string) string {
	if !plainName.MatchString(name) {
		name = quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// meant ends a message about the unknown key name in a section with a guess: the
// nearest of its siblings, else the one key of that name elsewhere.
func (l *loader) meant(section reflect.Type, name string) string {
	if near := nearest(name, names(section)); near != "" {
		return ": did you mean " + near + "?"
	}
	var elsewhere []string
	eachKey(reflect.ValueOf(Default()).Elem(), "", func(key string, _ reflect.Value) {
		if strings.HasSuffix(key, "."+name) && !strings.HasPrefix(key, "sources.") {
			elsewhere = append(elsewhere, key)
		}
	})
	if len(elsewhere) == 1 {
		return ": did you mean " + elsewhere[0] + "?"
	}
	return ": the keys here are " + strings.Join(names(section), ", ")
}

// nearest returns the candidate that a slip or two would turn into name.
func nearest(name string, candidates []string) string {
	best, most := "", min(2, len(name)/3)
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), c, most); d <= most {
			best, most = c, d-1
		}
	}
	return best
}

// distance is Levenshtein's, given up as soon as it is sure to be over most.
func distance(a, b string, most int) int {
	if d := len(a) - len(b); d > most || -d > most {
		return most + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
