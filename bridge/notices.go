package bridge

import (
	"maps"
	"slices"
	"sync"
)

// notices are what an operator should know and may have to act on, by subject.
type notices struct {
	mu   sync.Mutex
	text map[string]string
}

// Notice sets what an operator should know of a part beside the core, such as a listener:
// one text for each subject, and an empty text for its end.
func (b *Bridge) Notice(about, text string) {
	if text == "" {
		b.notices.clear(about)
		return
	}
	b.notices.set(about, text)
}

func (n *notices) set(about, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.text == nil {
		n.text = make(map[string]string)
	}
	n.text[about] = text
}

func (n *notices) clear(about string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.text, about)
}

func (n *notices) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := []string{}
	for _, about := range slices.Sorted(maps.Keys(n.text)) {
		all = append(all, n.text[about])
	}
	return all
}
