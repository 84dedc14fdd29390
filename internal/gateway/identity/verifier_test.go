package identity

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stelehq/stele/internal/ledger"
)

func TestVerify_ValidTokens(t *testing.T) {
	is := newIssuer(t)
	exp := testNow.Add(time.Hour)
	alice := Principal{Subject: "alice", Tenant: "acme", Roles: []Role{Reader, Writer}, Expires: exp}
	with := func(change func(*Principal)) Principal {
		p := alice
		change(&p)
		return p
	}
	tests := []struct {
		name  string
		token string
		want  Principal
	}{
		{"signed with Ed25519", is.signed(t, good(nil)), alice},
		{"signed with P-256",
			is.ec.sign(t, nil, payload(t, good(nil))), alice},
		{"signed with RSA", is.rsa.sign(t, nil, payload(t, good(nil))), alice},
		{"several audiences", is.signed(t, good(map[string]any{"aud": []string{"other", testAudience}})), alice},
		{"roles in one string", is.signed(t, good(map[string]any{"roles": " writer  reader writer"})), alice},
		{"a subject with slashes", is.signed(t, good(map[string]any{"sub": "repo:acme/config:ref:refs/heads/main"})),
			with(func(p *Principal) { p.Subject = "repo:acme/config:ref:refs/heads/main" })},
		{"unknown roles are passed over", is.signed(t, good(map[string]any{"roles": []string{"root", "reader", "Writer", "writer"}})), alice},
		{"no roles", is.signed(t, good(map[string]any{"roles": nil})), with(func(p *Principal) { p.Roles = nil })},
		{"every role", is.signed(t, good(map[string]any{"roles": "operator auditor admin writer reader"})),
			with(func(p *Principal) { p.Roles = []Role{Reader, Writer, Admin, Auditor, Operator} })},
		{"an operator without a tenant", is.signed(t, good(map[string]any{"roles": "operator", "tenant": nil})),
			with(func(p *Principal) { p.Roles, p.Tenant = []Role{Operator}, "" })},
		{"an operator of the ledger's own tenant", is.signed(t, good(map[string]any{"roles": "operator", "tenant": "_system"})),
			with(func(p *Principal) { p.Roles, p.Tenant = []Role{Operator}, ledger.System })},
		{"limited to prefixes", is.signed(t, good(map[string]any{"prefixes": []string{"a/", "b/c"}})),
			with(func(p *Principal) { p.Prefixes = []ledger.Pattern{"a/", "b/c"} })},
		{"limited to prefixes in one string", is.signed(t, good(map[string]any{"prefixes": "a/ b/c"})),
			with(func(p *Principal) { p.Prefixes = []ledger.Pattern{"a/", "b/c"} })},
		{"limited to everything", is.signed(t, good(map[string]any{"prefixes": []string{""}})),
			with(func(p *Principal) { p.Prefixes = []ledger.Pattern{""} })},
		{"valid from this very second", is.signed(t, good(map[string]any{"nbf": testNow.Unix()})), alice},
		{"unknown claims", is.signed(t, good(map[string]any{"Tenant": "globex", "email": "a@example.org"})), alice},
		{"headers that point to keys are not looked at",
			is.ed.sign(t, map[string]any{"jku": "https://evil.example/jwks", "x5u": 7}, payload(t, good(nil))), alice},
	}
	v := is.verifier(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // The second answer is from the cache.
				p, err := v.Verify(tt.token)
				if err != nil {
					t.Fatal(err)
				}
				if p.Subject != tt.want.Subject || p.Tenant != tt.want.Tenant || !slices.Equal(p.Roles, tt.want.Roles) || !slices.Equal(p.Prefixes, tt.want.Prefixes) || !p.Expires.Equal(tt.want.Expires) {
					t.Errorf("got %+v, want %+v", *p, tt.want)
				}
			}
		})
	}
}

func TestVerify_ClaimNames(t *testing.T) {
	is := newIssuer(t)
	is.config.TenantClaim, is.config.RolesClaim = "custom:tenantId", "cognito:groups"
	v := is.verifier(t)
	p, err := v.Verify(is.signed(t, good(map[string]any{
		"tenant": "globex", "roles": "operator", "custom:tenantId": "acme", "cognito:groups": []string{"auditor"},
	})))
	if err != nil {
		t.Fatal(err)
	}
	if p.Tenant != "acme" || !slices.Equal(p.Roles, []Role{Auditor}) {
		t.Errorf("got tenant %q and roles %q", p.Tenant, p.Roles)
	}
	if _, err := v.Verify(is.signed(t, good(nil))); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("a token with the default claims: %v", err)
	}
}

func TestNewVerifier_RequiresKeysIssuerAndAudience(t *testing.T) {
	is := newIssuer(t)
	for name, spoil := range map[string]func(*Config){
		"keys":     func(c *Config) { c.Keys = nil },
		"issuer":   func(c *Config) { c.Issuer = "" },
		"audience": func(c *Config) { c.Audience = "" },
	} {
		cfg := is.config
		spoil(&cfg)
		if _, err := NewVerifier(cfg); err == nil {
			t.Errorf("a verifier without %s was made", name)
		}
	}
}

func TestParseRoles_ExactNames(t *testing.T) {
	for _, r := range allRoles {
		if got, err := ParseRole(string(r)); got != r || err != nil {
			t.Errorf("ParseRole(%q) = %q, %v", r, got, err)
		}
	}
	for _, s := range []string{"", "Reader", "root", "reader "} {
		if got, err := ParseRole(s); err == nil {
			t.Errorf("ParseRole(%q) = %q", s, got)
		}
	}
}

// A token that is good for too long is refused, whenever it says that it was issued.
func TestVerify_MaxLifetime(t *testing.T) {
	signer, err := OpenSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	at := func(d time.Duration) float64 { return float64(now.Add(d).Unix()) }
	for _, tc := range []struct {
		name   string
		claims jwt.MapClaims
		ok     bool
	}{
		{"a day", jwt.MapClaims{"iat": at(0), "exp": at(24 * time.Hour)}, true},
		{"more than a day", jwt.MapClaims{"iat": at(0), "exp": at(24*time.Hour + 2*time.Second)}, false},
		{"more than a day, of which little is left", jwt.MapClaims{"iat": at(-24 * time.Hour), "exp": at(time.Hour)}, false},
		{"no time of issue", jwt.MapClaims{"exp": at(23 * time.Hour)}, true},
		{"no time of issue, and years", jwt.MapClaims{"exp": at(9000 * time.Hour)}, false},
		{"issued in the future", jwt.MapClaims{"iat": at(1000 * time.Hour), "exp": at(1001 * time.Hour)}, false},
		{"the year 9999", jwt.MapClaims{"iat": at(0), "exp": float64(maxDate)}, false},
	} {
		claims := jwt.MapClaims{"iss": LocalIssuer, "aud": LocalAudience, "sub": "ann", "tenant": "acme", "roles": []string{"reader"}}
		maps.Copy(claims, tc.claims)
		token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
		token.Header["kid"] = signer.jwk.ID
		text, err := token.SignedString(signer.key)
		if err != nil {
			t.Fatal(err)
		}
		for max, ok := range map[time.Duration]bool{24 * time.Hour: tc.ok, 0: true} {
			v, err := NewVerifier(Config{Keys: signer.Keys(), Issuer: LocalIssuer, Audience: LocalAudience, MaxLifetime: max})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.Verify(text); (err == nil) != ok {
				t.Errorf("%s, with at most %s: %v", tc.name, max, err)
			}
		}
	}
}

// Only in subjects of the local identity are the parts in front of "/" minters.
func TestVerify_Minters(t *testing.T) {
	signer, err := OpenSigner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	local, err := NewVerifier(Config{Keys: signer.Keys(), Issuer: LocalIssuer, Audience: LocalAudience})
	if err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string][]string{"olga": nil, "olga/kim": {"olga"}, "olga/ops/kim": {"olga", "olga/ops"}} {
		token, err := signer.Mint(Claims{Subject: subject, Tenant: "acme", Roles: []Role{Reader}, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := local.Verify(token); err != nil || p.Subject != subject || !slices.Equal(p.Minters, want) {
			t.Errorf("%s: %+v, %v, want the minters %q", subject, p, err, want)
		}
	}
	provider := newIssuer(t)
	if p, err := provider.verifier(t).Verify(provider.signed(t, good(map[string]any{"sub": "olga/kim"}))); err != nil || p.Subject != "olga/kim" || p.Minters != nil {
		t.Errorf("a provider's token: %+v, %v", p, err)
	}
}
