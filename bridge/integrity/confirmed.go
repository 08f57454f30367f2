package integrity

// Confirmed remembers the places that passes have found in the stream, so that a pass
// that got no answer in time costs the next one only what is still to be asked. What was
// found before a loss must not be trusted: a state that went back forgets all, and every
// pass asks for the highest place again, after all others.
type Confirmed struct {
	state  State
	places map[Place]bool
}

// begin forgets everything when the stream is not the one of the pass before.
func (c *Confirmed) begin(state State) {
	if c.places == nil || state.Last < c.state.Last || state.Identity != c.state.Identity || state.Host != c.state.Host {
		c.forget()
	}
	c.state = state
}

func (c *Confirmed) forget() { c.places = make(map[Place]bool) }

func (c *Confirmed) has(p Place) bool { return c.places[p] }

func (c *Confirmed) add(p Place) { c.places[p] = true }
