package webhook

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// Source is one sender, reached at /webhooks/{Name}.
type Source struct {
	Name string
	Auth Auth
	// Secrets holds several while rotating; each is accepted. For AuthSvix they
	// are base64, "whsec_" in front or not; for AuthBasic "user:password"; for
	// AuthHeader "Header-Name: value". AuthNone has none.
	Secrets []string
	// Tolerance is how far a signed timestamp may be from this host's clock, to
	// either side. 0 means five minutes.
	Tolerance time.Duration
	// AllowCIDRs are the only addresses that may send. Empty allows all.
	AllowCIDRs []netip.Prefix
	// RateLimit in requests per second; a second's worth may come at once.
	// 0 means no limit.
	RateLimit float64
}

func (s Source) validate() error {
	var errs []error
	if !wellFormedName(s.Name) {
		errs = append(errs, errors.New("name is not letters, digits, - and _"))
	}
	if s.Name == otherSource {
		errs = append(errs, errors.New("name is taken: metrics count unknown paths under it"))
	}
	if s.Tolerance < 0 {
		errs = append(errs, fmt.Errorf("tolerance %v is negative", s.Tolerance))
	}
	if s.RateLimit < 0 || math.IsNaN(s.RateLimit) || math.IsInf(s.RateLimit, 0) {
		errs = append(errs, fmt.Errorf("rate limit %v is not a rate", s.RateLimit))
	}
	return errors.Join(append(errs, validatePrefixes(s.AllowCIDRs)...)...)
}

// validatePrefixes refuses what would never match an address.
func validatePrefixes(prefixes []netip.Prefix) []error {
	var errs []error
	for _, p := range prefixes {
		switch {
		case !p.IsValid():
			errs = append(errs, errors.New("an address range is not valid"))
		case p.Addr().Is4In6():
			errs = append(errs, fmt.Errorf("address range %s: write it as IPv4", p))
		}
	}
	return errs
}

func wellFormedName(name string) bool {
	for _, c := range name {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_' {
			return false
		}
	}
	return name != ""
}

// source is a Source at work: what its requests pass before Accept.
type source struct {
	name      string
	kind      Auth
	tolerance time.Duration
	auth      atomic.Pointer[authenticator]
	allow     []netip.Prefix
	limiter   *rate.Limiter // nil for none
	counters  *counters
	diagnosis *diagnosis
}

func newSource(s Source, m *metrics, log *zap.Logger) (*source, error) {
	if s.Tolerance == 0 {
		s.Tolerance = 5 * time.Minute
	}
	g := &source{
		name:      s.Name,
		kind:      s.Auth,
		tolerance: s.Tolerance,
		allow:     s.AllowCIDRs,
		counters:  m.source(s.Name),
		diagnosis: newDiagnosis(s.Name, log),
	}
	if s.RateLimit > 0 {
		g.limiter = rate.NewLimiter(rate.Limit(s.RateLimit), int(math.Ceil(s.RateLimit)))
	}
	a, err := newAuthenticator(s.Auth, s.Secrets, s.Tolerance)
	if err != nil {
		return nil, err
	}
	g.auth.Store(&a)
	return g, nil
}

func (g *source) authenticator() authenticator { return *g.auth.Load() }

// allows says whether the address may send. What is no address may not.
func (g *source) allows(address string) bool {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	for _, p := range g.allow {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// secondsToNext is the Retry-After of a source over its rate limit.
func (g *source) secondsToNext() int {
	return max(1, int(math.Ceil(1/float64(g.limiter.Limit()))))
}
