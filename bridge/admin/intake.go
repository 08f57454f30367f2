package admin

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// Endpoint is where a source delivers to.
type Endpoint struct {
	Source string `json:"source"`
	// Auth is how its requests are checked.
	Auth string `json:"auth"`
	// URL is the address on this host, and Path its part that a public address ends with;
	// both are empty without a listener.
	URL  string `json:"url,omitempty"`
	Path string `json:"path,omitempty"`
	// Pulled says that the source is fetched from its polling endpoint, too.
	Pulled bool `json:"pulled,omitempty"`
}

// RefusedRequests are the requests of a source that were refused for one reason, since the
// process started. Reason is the code, and Text the same in English, with what to do.
// DetailCode and DetailParams are Detail for other languages.
type RefusedRequests struct {
	Source string `json:"source"`
	Reason string `json:"reason"`
	Text   string `json:"text"`
	Detail string `json:"detail,omitempty"`

	DetailCode   string            `json:"detail_code,omitempty"`
	DetailParams map[string]string `json:"detail_params,omitempty"`

	Count   int       `json:"count"`
	Last    time.Time `json:"last"`
	Address string    `json:"address"`
}

// Intake is what comes in by, and what was refused, the newest first.
type Intake struct {
	Endpoints []Endpoint        `json:"endpoints"`
	Refused   []RefusedRequests `json:"refused"`
}

func (s *Server) intake(c echo.Context) error {
	got := Intake{Endpoints: s.o.Endpoints, Refused: s.refusedRequests()}
	if got.Endpoints == nil {
		got.Endpoints = []Endpoint{}
	}
	return c.JSON(http.StatusOK, got)
}

func (s *Server) refusedRequests() []RefusedRequests {
	if s.o.Refused == nil {
		return []RefusedRequests{}
	}
	refused := s.o.Refused()
	for i := range refused {
		r := &refused[i]
		r.DetailCode, r.DetailParams = codeOf(r.Detail)
	}
	return refused
}
