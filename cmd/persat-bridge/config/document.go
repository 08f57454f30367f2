package config

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readDocument walks the file's YAML beside the Config, and sets what fits. It
// returns false when there is no telling what the file says.
func (l *loader) readDocument(text string) bool {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return true
	case err != nil:
		l.noteSyntax(text, err)
		return false
	}
	var next yaml.Node
	switch err := decoder.Decode(&next); {
	case err == nil:
		l.note(origin{line: next.Line}, "", "a second document begins here: there can be only one")
	case !errors.Is(err, io.EOF):
		l.noteSyntax(text, err)
	}
	l.section(document.Content[0], reflect.ValueOf(l.cfg).Elem(), "")
	return true
}

// value sets v to what n says. path is n's key.
func (l *loader) value(n *yaml.Node, v reflect.Value, path string) {
	if l.replaced(path) {
		return
	}
	l.origins[path] = origin{layer: fromFile, line: n.Line}
	switch {
	case v.Type() == sourcesType:
		l.sources(n, v.Interface().(map[string]Source), path)
	case isSection(v.Type()):
		l.section(n, v, path)
	case v.Kind() == reflect.Slice:
		l.list(n, v, path)
	default:
		l.scalar(n, v, path)
	}
}

// section reads the keys of a struct.
func (l *loader) section(n *yaml.Node, v reflect.Value, path string) {
	l.pairs(n, path, func(key, value *yaml.Node, path string) {
		if f, ok := field(v, key.Value); ok {
			l.value(value, f, path)
			return
		}
		l.note(origin{line: key.Line}, path, "unknown key"+l.meant(v.Type(), key.Value))
	})
}

// sources reads the one section whose keys are the operator's own.
func (l *loader) sources(n *yaml.Node, sources map[string]Source, path string) {
	l.pairs(n, path, func(key, value *yaml.Node, path string) {
		text := checkSourceName(key.Value)
		if text != "" {
			l.badSource = true
			l.note(origin{line: key.Line}, path, text)
		}
		s := newSource(key.Value)
		l.origins[path] = origin{layer: fromFile, line: key.Line}
		l.section(value, reflect.ValueOf(&s).Elem(), path)
		if text == "" {
			sources[key.Value] = s
		}
	})
}

// pairs visits the keys of a mapping, each once. A mapping of which nothing is
// left but comments is one without keys.
func (l *loader) pairs(n *yaml.Node, path string, visit func(key, value *yaml.Node, path string)) {
	if l.refuse(n, path) || isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		l.note(origin{line: n.Line}, path, "not a section: its keys go below it, indented")
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || isNull(key):
			l.note(origin{line: key.Line}, path, "a key here is not a name")
			continue
		case key.ShortTag() == "!!merge":
			l.note(origin{line: key.Line}, join(path, key.Value), "merge keys are not supported: write the keys out")
			continue
		case first[key.Value] > 0:
			l.note(origin{line: key.Line}, join(path, key.Value), fmt.Sprintf("the key is there already, on line %d", first[key.Value]))
			continue
		}
		first[key.Value] = key.Line
		visit(key, value, join(path, key.Value))
	}
}

func (l *loader) list(n *yaml.Node, v reflect.Value, path string) {
	switch {
	case l.refuse(n, path):
	case isNull(n):
		// For allow_cidrs, no list and an empty one mean everyone: it has to be said.
		l.note(origin{line: n.Line}, path, "without a value: write [] for an empty list, or remove the key")
	case n.Kind != yaml.SequenceNode:
		l.note(origin{line: n.Line}, path, "not a list: write it in brackets, or one entry a line after a dash")
	default:
		list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, entry := range n.Content {
			key := path + "[" + strconv.Itoa(i) + "]"
			l.origins[key] = origin{layer: fromFile, line: entry.Line}
			l.scalar(entry, list.Index(i), key)
		}
		if list.Len() > 0 {
			v.Set(list)
		}
	}
}

func (l *loader) scalar(n *yaml.Node, v reflect.Value, path string) {
	switch {
	case l.refuse(n, path):
		return
	case isNull(n):
		l.note(origin{line: n.Line}, path, `without a value: write one ("" for an empty text), or remove the key`)
		return
	case n.Kind != yaml.ScalarNode:
		l.note(origin{line: n.Line}, path, "not one value, but a list or a section")
		return
	}
	text, err := expand(n.Value, l.env, l.unclean)
	if unset, ok := errors.AsType[unsetError](err); ok {
		if v.Type() == reflect.TypeFor[Secret]() && strings.HasPrefix(path, "sources.") {
			err = fmt.Errorf("the variable %s is not set, so the secret is missing: set it, or write auth: none to take unsigned requests", unset.variable)
		}
		l.note(origin{line: n.Line}, path, err.Error())
		l.mistakes[len(l.mistakes)-1].unset = true
		return
	}
	if err == nil {
		text, err = cleanKey(path, text)
	}
	if err == nil {
		err = setText(v, text)
	}
	if err != nil {
		l.note(origin{line: n.Line}, path, err.Error())
	}
}

// refuse notes what YAML can do and a configuration should not: an alias makes a
// value come from somewhere else, a custom tag makes it mean something else.
func (l *loader) refuse(n *yaml.Node, path string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		l.note(origin{line: n.Line}, path, "aliases are not supported: write the value out")
	case n.Style&yaml.TaggedStyle != 0 && n.ShortTag() != "!!str":
		l.note(origin{line: n.Line}, path, "tags are not supported: write the value alone")
	default:
		return false
	}
	return true
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }
