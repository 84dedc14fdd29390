package access

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/ledger"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// revokedKey is the setting of the tokens that are rejected, in the ledger's own tenant.
const revokedKey = string(policy.RevokedKey)

// lifetimes are those of tokens that are minted, with their labels.
var lifetimes = []struct {
	label string
	ttl   time.Duration
}{{"1 hour", time.Hour}, {"8 hours", 8 * time.Hour}, {"1 day", 24 * time.Hour}, {"7 days", 7 * 24 * time.Hour}, {"30 days", 30 * 24 * time.Hour}}

// tokensView is the tokens that are minted and revoked.
type tokensView struct {
	setting
	revoked []policy.Revocation
	local   bool // the gateway has a local identity

	// The form of a token, and the token that was minted.
	subject, prefixes, ttl string
	roles                  []string
	mintProblem            string
	minted, holder         string
	expires                time.Time
}

func (s *tokensView) parse() (err error) {
	if s.value != "" {
		s.revoked, err = policy.ParseRevocations(ledger.Value(s.value))
	}
	return err
}

func (h *Pages) showTokens(v *page.View, code int, s *tokensView) error {
	s.local = h.mint != nil
	err := v.Load(func(context.Context) error { return s.read(v, revokedKey) })
	if err != nil {
		return err
	}
	if err := s.parse(); err != nil {
		s.problem = "The list of revoked tokens is invalid: " + err.Error() + ". Edit " + revokedKey + " in the tenant _system."
	}
	return v.Show(code, "Tokens", page.Command{"token", "mint", "SUBJECT", "-t", string(v.Tenant), "--roles", "reader"}, tokensPage(v, s))
}

func (h *Pages) postTokens(v *page.View) error {
	s := &tokensView{}
	switch v.R.PostFormValue("do") {
	case "mint":
		return h.mintToken(v, s)
	case "commit":
		return s.commit(v, revokedKey, "tokens", func(code int) error { return h.showTokens(v, code, s) })
	}
	return h.revoke(v, s)
}

// mintToken mints a token for the tenant. It gives nothing that the user may not do, and its
// subject begins with the user's: commits and recorded reads show both, and what others may do
// by their names it may not.
func (h *Pages) mintToken(v *page.View, s *tokensView) error {
	if h.mint == nil {
		return page.ErrMethod
	}
	if err := v.Load(); err != nil {
		return err
	}
	if !v.Operator() {
		return page.ErrNotFound
	}
	var grants setting
	if err := grants.read(v, grantsKey(v.Tenant)); err != nil {
		return err
	}
	f := v.R.PostForm
	s.subject, s.prefixes, s.ttl, s.roles = v.Query("subject"), v.Query("prefixes"), v.Query("ttl"), f["role"]
	claims := identity.Claims{Subject: v.Principal.GetSubject() + "/" + s.subject, Tenant: v.Tenant}
	for _, l := range lifetimes {
		if l.label == s.ttl {
			claims.TTL = l.ttl
		}
	}
	for _, p := range list(s.prefixes) {
		claims.Prefixes = append(claims.Prefixes, ledger.Pattern(p))
	}
	for _, name := range s.roles {
		claims.Roles = append(claims.Roles, identity.Role(name))
	}
	err := mayMint(v, claims, grants.value)
	if err == nil && (s.subject == "" || strings.Contains(s.subject, "/")) { // before the last / is who has minted the token
		err = fmt.Errorf("you cannot mint a token of %q: a name has at least one character, and no /", s.subject)
	}
	if err == nil {
		s.minted, err = h.mint(claims)
	}
	if err != nil {
		s.mintProblem = err.Error()
		return h.showTokens(v, http.StatusUnprocessableEntity, s)
	}
	v.Log.Info("a token was minted in the console", "by", v.Principal.GetSubject(), "subject", claims.Subject, "tenant", claims.Tenant, "roles", claims.Roles, "prefixes", claims.Prefixes, "lifetime", claims.TTL)
	s.holder, s.expires = claims.Subject, time.Now().Add(claims.TTL)
	v.Confidential = true
	return h.showTokens(v, http.StatusOK, s)
}

// mayMint returns an error if the token would give its holder an operation that the user does
// not have, by its roles or by the tenant's grants, which can name its subject.
func mayMint(v *page.View, c identity.Claims, grants string) error {
	prefixes := c.Prefixes
	if len(prefixes) == 0 {
		prefixes = []ledger.Pattern{""}
	}
	for _, r := range c.Roles {
		if !slices.Contains(grantRoles, r) {
			return fmt.Errorf("unknown role %q", r)
		}
		for _, op := range policy.OperationsOf(r) {
			for _, p := range prefixes {
				if !v.May(string(op), string(p)) {
					return fmt.Errorf("you cannot mint a token with the role %s: you do not have the permission %s yourself", r, op)
				}
			}
		}
	}
	granted, err := policy.NewPreview(grants)
	if err != nil {
		return fmt.Errorf("you cannot mint a token: the grants of %s are invalid: %w", v.Tenant, err)
	}
	holder := identity.Principal{Subject: c.Subject, Tenant: c.Tenant, Roles: c.Roles, Prefixes: c.Prefixes}
	for _, op := range policy.Operations {
		for _, p := range granted.Scope(&holder, op) {
			if !v.May(string(op), string(p)) {
				return fmt.Errorf("you cannot mint a token of %s: a grant gives it the permission %s, which you do not have yourself", format.Visible(c.Subject), op)
			}
		}
	}
	return nil
}

// revoke shows what a change of the revoked tokens would do.
func (h *Pages) revoke(v *page.View, s *tokensView) error {
	if err := s.read(v, revokedKey); err != nil {
		return err
	}
	if err := s.parse(); err != nil {
		return status.Error(codes.FailedPrecondition, "the list of revoked tokens is invalid: "+err.Error())
	}
	r := policy.Revocation{ID: v.Query("jti"), Subject: v.Query("revoked-subject")}
	entries := slices.Clone(s.revoked)
	effect := ""
	if v.R.PostFormValue("do") == "restore" {
		entries = slices.DeleteFunc(entries, func(e policy.Revocation) bool { return e.ID == r.ID && e.Subject == r.Subject })
		effect = "Tokens of " + r.Subject + r.ID + " that have not expired are accepted again, in every tenant."
		s.message = "Accept tokens of " + r.Subject + r.ID + " again"
	} else {
		switch {
		case (r.ID == "") == (r.Subject == ""):
			s.problem = "Name a subject or the id of a token."
			return h.showTokens(v, http.StatusUnprocessableEntity, s)
		case r.ID != "":
			effect = "The token with the id " + r.ID + " is rejected from now on, in every tenant. Its streams end."
		default:
			r.Before = time.Now().UTC().Truncate(time.Second).Add(time.Second)
			effect = "All tokens of " + r.Subject + " that were issued until now are rejected, in every tenant. So are those of " + r.Subject + "/..., which it has minted. Their streams end. A new login gets a token that is accepted."
		}
		entries = append(entries, r)
		s.message = "Revoke tokens of " + r.Subject + r.ID
	}
	text, err := json.Marshal(struct {
		Revoked []policy.Revocation `json:"revoked"`
	}{entries})
	if err != nil {
		return err
	}
	return s.review(v, revokedKey, string(text), "tokens", "Review the revoked tokens", func() error {
		return h.showTokens(v, http.StatusUnprocessableEntity, s)
	}, plainEffect(effect))
}
