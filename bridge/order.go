package bridge

import (
	"hash/maphash"
	"slices"
	"strings"
)

// orderingKeys makes the ordering keys of events: one for each entity that an event
// speaks of, from its source, its kind (Event.Kind, or the type up to its first dot) and
// the entity's id, since ids are told apart only among things of a kind. An event without an entity
// is ordered among those of its source and type. A key is a hash: entities whose keys
// collide wait for each other, and nothing else comes of it. Keys live in this process
// and are not on disk.
type orderingKeys struct{ seed maphash.Seed }

func newOrderingKeys() orderingKeys { return orderingKeys{seed: maphash.MakeSeed()} }

func (k orderingKeys) of(e *Event) []uint64 {
	if len(e.Entities) == 0 {
		return []uint64{k.key(e.Source, "", e.Type)}
	}
	kind := e.Kind
	if kind == "" {
		kind, _, _ = strings.Cut(e.Type, ".")
	}
	keys := make([]uint64, len(e.Entities))
	for i, id := range e.Entities {
		keys[i] = k.key(e.Source, kind, id)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// key is that of an entity, or, without a kind, of the events of a type.
func (k orderingKeys) key(source, kind, id string) uint64 {
	var h maphash.Hash
	h.SetSeed(k.seed)
	for _, part := range []string{source, kind, id} {
		h.WriteString(part)
		h.WriteByte(0)
	}
	return h.Sum64()
}
