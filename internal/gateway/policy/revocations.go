package policy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/strictjson"
)

// revocations are tokens that are rejected although they have not expired, the
// value of policy/revoked:
//
//	{"revoked":[
//	  {"jti":"1c9d9f0e"},
//	  {"subject":"ann","before":"2026-12-02T10:00:00Z"}
//	]}
//
// They apply to operators as well.
type revocations struct {
	ids map[string]bool
	// subjects have the time before which their tokens were issued; the zero time is
	// for all.
	subjects map[string]time.Time
}

// maxRevoked bounds what every gateway keeps in memory.
const maxRevoked = 10_000

// Revocation is an entry of policy/revoked: one token by its id, or the tokens of a subject, and of
// subjects that it has minted, that were issued before a time, or at any time if that is zero.
type Revocation struct {
	ID      string    `json:"jti,omitzero"`
	Subject string    `json:"subject,omitzero"`
	Before  time.Time `json:"before,omitzero"`
}

// ParseRevocations parses the list. An unknown member is an error: it may be a misspelled
// name.
func ParseRevocations(value ledger.Value) ([]Revocation, error) {
	var doc struct {
		Revoked *[]Revocation `json:"revoked"`
	}
	if err := strictjson.Unmarshal([]byte(value), &doc, `it must be an object with "revoked"`); err != nil {
		return nil, err
	}
	switch {
	case doc.Revoked == nil:
		return nil, errors.New(`it has no "revoked"`)
	case len(*doc.Revoked) > maxRevoked:
		return nil, fmt.Errorf("%d entries are more than %d: remove those whose tokens have expired", len(*doc.Revoked), maxRevoked)
	}
	for i, entry := range *doc.Revoked {
		switch {
		case (entry.ID == "") == (entry.Subject == ""):
			return nil, fmt.Errorf(`revoked[%d]: name a "jti" or a "subject"`, i)
		case entry.ID != "" && !entry.Before.IsZero():
			return nil, fmt.Errorf(`revoked[%d]: "before" is for a subject`, i)
		}
	}
	return *doc.Revoked, nil
}

// parseRevocations parses the list, to look tokens up in it.
func parseRevocations(value ledger.Value) (revocations, error) {
	r := revocations{ids: make(map[string]bool), subjects: make(map[string]time.Time)}
	list, err := ParseRevocations(value)
	for _, entry := range list {
		if entry.ID != "" {
			r.ids[entry.ID] = true
			continue
		}
		before, twice := r.subjects[entry.Subject]
		if !twice || !before.IsZero() && (entry.Before.IsZero() || entry.Before.After(before)) {
			r.subjects[entry.Subject] = entry.Before
		}
	}
	return r, err
}

// has reports whether the principal's token is revoked, or the subjects that it was minted by. A
// token without an issue time counts as issued before any time.
func (r *revocations) has(p *identity.Principal) bool {
	if p.ID != "" && r.ids[p.ID] {
		return true
	}
	of := func(subject string) bool {
		before, named := r.subjects[subject]
		return named && (before.IsZero() || p.Issued.Before(before))
	}
	return of(p.Subject) || slices.ContainsFunc(p.Minters, of)
}

// NotRevoked is nil unless the principal's token is revoked. The error is that of current while
// the policies cannot be read.
func (e *Enforcer) NotRevoked(p *identity.Principal) error {
	set, err := e.current()
	if err != nil {
		return err
	}
	if set.revoked.has(p) {
		return fmt.Errorf("%w: the token of %s was revoked: get a new one, or ask an operator (%s in %s)", identity.ErrUnauthenticated, p.Subject, RevokedKey, ledger.System)
	}
	return nil
}

// notRevoked is NotRevoked for a call. While the policies cannot be read, only methods that every
// authenticated caller may call are answered.
func (e *Enforcer) notRevoked(c Caller, m *Method) error {
	err := e.NotRevoked(c.Principal)
	if m.Needs == Authenticated && !errors.Is(err, identity.ErrUnauthenticated) {
		return nil
	}
	return err
}
