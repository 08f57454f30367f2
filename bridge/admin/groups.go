package admin

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/reason"
)

// DeadGroup is the dead letters that died of one reason.
type DeadGroup struct {
	// Group is the value of the parameter group that picks them.
	Group string `json:"group"`
	// Reason is that of the newest, with its code and parameters.
	Reason string `json:"reason"`
	reason.Explanation
	Count int `json:"count"`
	// Publishable is how many of them have an event type: the others can only be
	// discarded.
	Publishable int           `json:"publishable"`
	Sources     []string      `json:"sources"`
	Types       []GroupedType `json:"types"`
	// First and Last are when the oldest and the newest of them died.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// GroupedType counts the dead letters of a type in a group; Type is empty for those
// without one.
type GroupedType struct {
	Type  string `json:"type"`
	Count int    `json:"count"`
}

// DeadGroups are all dead letters, by reason: the most first.
type DeadGroups struct {
	Total       int         `json:"total"`
	Publishable int         `json:"publishable"`
	Groups      []DeadGroup `json:"groups"`
	// Now is as in DeadPage.
	Now time.Time `json:"now"`
}

// maxReasons bounds the reasons whose groups are remembered while dead letters are read.
const maxReasons = 5000

func (s *Server) deadGroups(c echo.Context) error {
	f, _, err := listOf(c.QueryParams())
	if err != nil {
		return err
	}
	got := DeadGroups{Groups: []DeadGroup{}, Now: time.Now().UTC()}
	byKey := make(map[string]*DeadGroup)
	types := make(map[string]map[string]int)
	keys := make(map[string]string) // of the texts seen
	err = s.bridge.EachDeadLetter(f, func(r bridge.Record) {
		key, known := keys[r.Reason]
		if !known {
			if key = reason.Group(r.Reason); len(keys) < maxReasons {
				keys[r.Reason] = key
			}
		}
		g := byKey[key]
		if g == nil {
			g = &DeadGroup{Group: key, First: diedAt(&r)}
			byKey[key], types[key] = g, make(map[string]int)
		}
		g.add(&r)
		types[key][r.Type]++
		got.Total++
		if r.Type != "" {
			got.Publishable++
		}
	})
	if err != nil {
		return err
	}
	for key, g := range byKey {
		g.Explanation = reason.Explain(g.Reason)
		for t, n := range types[key] {
			g.Types = append(g.Types, GroupedType{t, n})
		}
		slices.SortFunc(g.Types, func(a, b GroupedType) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Type, b.Type)) })
		slices.Sort(g.Sources)
		got.Groups = append(got.Groups, *g)
	}
	slices.SortFunc(got.Groups, func(a, b DeadGroup) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Group, b.Group)) })
	return c.JSON(http.StatusOK, got)
}

func (g *DeadGroup) add(r *bridge.Record) {
	g.Count++
	if r.Type != "" {
		g.Publishable++
	}
	if !slices.Contains(g.Sources, r.Source) {
		g.Sources = append(g.Sources, r.Source)
	}
	died := diedAt(r)
	if died.Before(g.First) {
		g.First = died
	}
	if !died.Before(g.Last) {
		g.Last, g.Reason = died, r.Reason
	}
}

func diedAt(r *bridge.Record) time.Time {
	if r.At != nil {
		return *r.At
	}
	return r.Accepted
}
