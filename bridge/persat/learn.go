package persat

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Learner holds bodies that have really arrived against the catalogue. What it keeps
// of them are event types, names of members, JSON types and states, and never another
// value. It is not safe for concurrent use.
type Learner struct {
	types    map[string]*Learned
	unusable int
	extra    int // bodies of types beyond maxLearnedTypes
}

const (
	// maxLearnedTypes and maxLearnedMembers bound what a stranger's names can take.
	maxLearnedTypes   = 1000
	maxLearnedMembers = 500
)

// Learned is what bodies of one event type have shown.
type Learned struct {
	Type string `json:"type"`
	// Known says that the catalogue has the type, Assumed that its name there is a
	// placeholder: then a first arrival confirms it.
	Known   bool `json:"known"`
	Assumed bool `json:"assumed,omitempty"`
	Kind    Kind `json:"kind"`
	// Events counts bodies. First and Last are when they were accepted.
	Events int       `json:"events"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	// Shapes are the JSON types of the payload, Identity the members that named the
	// entity with their JSON types, each with how many payload objects had it.
	Shapes   map[string]int `json:"shapes"`
	Identity map[string]int `json:"identity"`
	States   map[string]int `json:"states,omitempty"`
	// New are the differences from the catalogue, as sentences, sorted.
	New []string `json:"new"`

	members map[string]int // of differences, in payload objects
}

// Lessons is the whole of what was learned.
type Lessons struct {
	Events int `json:"events"`
	// Unusable bodies are no events: not JSON, or without a usable event type.
	Unusable int `json:"unusable"`
	// Beyond counts events of types beyond the first thousand.
	Beyond int        `json:"beyond,omitempty"`
	Types  []*Learned `json:"types"`
	// New is how many differences from the catalogue there are.
	New int `json:"new"`
}

// Add takes one body, accepted at a time.
func (l *Learner) Add(body []byte, at time.Time) {
	envelope, err := ReadEnvelope(body)
	if err != nil {
		l.unusable++
		return
	}
	if l.types == nil {
		l.types = make(map[string]*Learned)
	}
	t := l.types[envelope.Type]
	if t == nil {
		if len(l.types) >= maxLearnedTypes {
			l.extra++
			return
		}
		t = newLearned(envelope.Type)
		l.types[envelope.Type] = t
	}
	t.Events++
	if t.First.IsZero() || at.Before(t.First) {
		t.First = at
	}
	if at.After(t.Last) {
		t.Last = at
	}
	switch {
	case t.Events == 1:
		t.Kind = envelope.Kind
	case t.Kind != envelope.Kind:
		t.Kind = KindOther
	}
	t.payload(memberOf(body, "payload"), envelope.Kind)
}

func newLearned(eventType string) *Learned {
	t := &Learned{Type: eventType, Shapes: make(map[string]int), Identity: make(map[string]int), States: make(map[string]int), members: make(map[string]int)}
	if entry, ok := entryOf(eventType); ok {
		t.Known, t.Assumed = true, entry.Assumed
	}
	return t
}

// entryOf is the catalogue's row of a type.
func entryOf(eventType string) (Entry, bool) {
	at := slices.IndexFunc(catalogue, func(e Entry) bool { return e.Type == eventType })
	if at < 0 {
		return Entry{}, false
	}
	return catalogue[at], true
}

func (t *Learned) payload(payload []byte, kind Kind) {
	if payload == nil {
		t.Shapes["none"]++
		return
	}
	got := jsonType(payload)
	t.Shapes[got]++
	switch got {
	case "object":
		t.object(payload, kind)
	case "array":
		for _, item := range itemsOf(payload) {
			if item[0] == '{' {
				t.object(item, kind)
			} else {
				t.differs("an item of the payload is no object but a " + jsonType(item))
			}
		}
	}
}

// object takes one object of a payload.
func (t *Learned) object(object []byte, kind Kind) {
	ids := newScanner(object).identifiers(0)
	switch member, value := ids.named(kind); {
	case ids.twice:
		t.Identity["twice"]++
	case member == "":
		t.Identity["none"]++
	default:
		t.Identity[member+" "+jsonType(value)]++
	}
	if state := memberOf(object, "state"); len(state) > 0 && state[0] == '"' {
		t.States[stateWord(string(unquote(state)))]++
	}
	shapes[kind].drift("payload", object, func(path, got string, want []string) {
		if want == nil {
			t.differs(fmt.Sprintf("a member that the catalogue lacks: %s (%s)", path, got))
			return
		}
		t.differs(fmt.Sprintf("member %s is %s, not %s", path, got, strings.Join(want, " or ")))
	})
}

// named is the member that names the entity, as text does it, and its value.
func (i identifiers) named(kind Kind) (string, []byte) {
	first, second := "_id", "uid_client"
	values := map[string][]byte{first: i.id, second: i.uidClient}
	if kind == KindClient {
		first, second = second, first
	}
	for _, member := range []string{first, second} {
		if identityText(values[member]) != "" {
			return member, values[member]
		}
	}
	return "", nil
}

// stateWord is a state, or, when it is no word, that: a text may be anybody's.
func stateWord(state string) string {
	ok := state != "" && len(state) <= 48
	for i := range len(state) {
		ok = ok && (isWordByte(state[i]))
	}
	if !ok {
		return "(no word)"
	}
	return state
}

func (t *Learned) differs(text string) {
	if _, seen := t.members[text]; seen || len(t.members) < maxLearnedMembers {
		t.members[text]++
	}
}

// Lessons returns what was learned so far, types in the order of their names.
func (l *Learner) Lessons() Lessons {
	r := Lessons{Unusable: l.unusable, Beyond: l.extra, Types: []*Learned{}}
	for _, name := range slices.Sorted(maps.Keys(l.types)) {
		t := l.types[name]
		t.New = t.differences()
		r.Events += t.Events
		r.New += len(t.New)
		r.Types = append(r.Types, t)
	}
	r.Events += l.extra
	return r
}

// differences are sentences.
func (t *Learned) differences() []string {
	all := []string{}
	entry, known := entryOf(t.Type)
	switch {
	case !known && t.Kind != KindOther:
		all = append(all, "an event type that the catalogue does not know; its payload is that of a "+string(t.Kind))
	case !known:
		all = append(all, "an event type that the catalogue does not know")
	case entry.Assumed:
		all = append(all, "the catalogue had only assumed this name; an event has confirmed it")
	}
	for text, n := range t.members {
		all = append(all, text+", in "+counted(n, "object"))
	}
	if known {
		for shape, n := range t.Shapes {
			if !strings.Contains(string(entry.Payload), shape) {
				all = append(all, fmt.Sprintf("the payload is %s, not %s, in %s", shape, entry.Payload, counted(n, "event")))
			}
		}
		for identity, n := range t.Identity {
			if want := entry.Identity + " " + entry.IdentityType; identity != want {
				all = append(all, fmt.Sprintf("the identity is %s, not %s, in %s", identity, want, counted(n, "object")))
			}
		}
	}
	if known && entry.States != nil {
		for state, n := range t.States {
			if !slices.Contains(entry.States, state) {
				all = append(all, fmt.Sprintf("state %s, in %s", state, counted(n, "object")))
			}
		}
	}
	slices.Sort(all)
	return all
}

func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprint(n, " ", thing)
}

// Entry is the row that would describe the type in the catalogue, as Go.
func (t *Learned) Entry() string {
	payload := "OneOrMany"
	switch {
	case t.Shapes["array"] == 0 && t.Shapes["object"] > 0:
		payload = "OneObject"
	case t.Shapes["array"] > 0 && t.Shapes["object"] == 0:
		payload = "ManyObjects"
	}
	identity, n := "", 0
	for name, count := range t.Identity {
		if count > n && strings.Contains(name, " ") {
			identity, n = name, count
		}
	}
	member, kind, _ := strings.Cut(identity, " ")
	names := map[Kind]string{KindClient: "KindClient", KindWorkOrder: "KindWorkOrder", KindDelivery: "KindDelivery", KindRoute: "KindRoute", KindForm: "KindForm"}
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n\tType: %q, Kind: %s, Title: %q, Confirmed: true,\n", t.Type, cmp.Or(names[t.Kind], "KindOther"), "…")
	fmt.Fprintf(&b, "\tFires: %q,\n\tPayload: %s, PayloadConfirmed: true,", "…", payload)
	if member != "" {
		fmt.Fprintf(&b, " Identity: %q, IdentityType: %q, IdentityConfirmed: true,", member, kind)
	}
	b.WriteString("\n")
	if states := slices.Sorted(maps.Keys(t.States)); len(states) > 0 {
		fmt.Fprintf(&b, "\tStates: []string{\"%s\"},\n", strings.Join(states, `", "`))
	}
	b.WriteString("}")
	return b.String()
}
