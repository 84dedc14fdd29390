package identity

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// cognito is a token of Cognito's kind "id", with changes.
func cognito(changes map[string]any) map[string]any {
	return merge(map[string]any{
		"iss": testIssuer, "aud": testAudience, "token_use": "id", "sub": "9f6c", "exp": testNow.Unix() + 60,
		"custom:tenantId": "acme", "cognito:groups": []string{"writer", "eu-west-1_x_Google"}, "cognito:username": "ann",
	}, changes)
}

// access makes it one of the kind "access".
func access(changes map[string]any) map[string]any {
	return merge(cognito(map[string]any{"token_use": "access", "client_id": testAudience, "scope": "openid"}), changes)
}

func TestPresets_TokensOfProviders(t *testing.T) {
	is := newIssuer(t)
	keycloak := map[string]any{"realm_access": map[string]any{"roles": []string{"offline_access", "writer"}}, "roles": "operator", "typ": "Bearer"}
	for _, tt := range []struct {
		name   string
		preset Preset
		claims map[string]any
		wrong  string // empty for a token of acme's writer
	}{
		{"Cognito, ID token", Cognito, cognito(nil), ""},
		{"Cognito, access token", Cognito, noAudience(access(nil)), ""},
		{"Cognito, access token for a resource", Cognito, access(map[string]any{"aud": "https://api.example.com"}), ""},
		{"Cognito, names of other providers", Cognito, cognito(map[string]any{"tenant": "globex", "roles": "operator"}), ""},
		{"Cognito, ID token of another client", Cognito, cognito(map[string]any{"aud": "other"}), "audience"},
		{"Cognito, ID token with a list", Cognito, cognito(map[string]any{"aud": []string{testAudience}}), "audience"},
		{"Cognito, ID token with our client_id", Cognito, cognito(map[string]any{"aud": "other", "client_id": testAudience}), "audience"},
		{"Cognito, access token of another client", Cognito, access(map[string]any{"client_id": "other"}), "client_id"},
		{"Cognito, access token without a client", Cognito, cognito(map[string]any{"token_use": "access"}), "client_id"},
		{"Cognito, refresh token", Cognito, access(map[string]any{"token_use": "refresh"}), "token_use"},
		{"Cognito, no kind", Cognito, access(map[string]any{"token_use": []string{"id"}}), "token_use"},
		{"Cognito, no tenant", Cognito, access(map[string]any{"custom:tenantId": nil}), "custom:tenantId"},
		{"Cognito's access token without the preset", Plain, noAudience(access(map[string]any{"tenant": "acme"})), "needs the claims"},
		{"Keycloak", Keycloak, good(keycloak), ""},
		{"Keycloak, roles that are no object", Keycloak, good(map[string]any{"realm_access": "writer"}), "none"},
		{"Keycloak, a claim whose name is the path", Keycloak, good(map[string]any{"/realm_access/roles": "writer"}), "none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is.config.Preset = tt.preset
			p, err := is.verifier(t).Verify(is.rsa.sign(t, nil, payload(t, tt.claims)))
			switch {
			case tt.wrong == "none": // that is, no roles
				if err != nil || len(p.Roles) > 0 {
					t.Errorf("%+v, %v", p, err)
				}
			case tt.wrong != "":
				if !errors.Is(err, ErrUnauthenticated) || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("%+v, %v, want %q", p, err, tt.wrong)
				}
			case err != nil || p.Tenant != "acme" || !slices.Equal(p.Roles, []Role{Writer}):
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
	if _, err := ParsePreset("okta"); err == nil {
		t.Error("a preset that there is not")
	}
}

func noAudience(claims map[string]any) map[string]any {
	return merge(claims, map[string]any{"aud": nil})
}

func TestClaims_Pointer(t *testing.T) {
	claims := jwt.MapClaims{
		"a": map[string]any{"b": "nested", "": "empty", "x/y": "slash", "x~y": "tilde", "~1": "escaped"}, "a/b": "flat", "a.b": "dotted", "https://example.com/t": "URL",
		"list": []any{"x"},
	}
	for name, want := range map[string]any{
		"/a/b": "nested", "a/b": "flat", "a.b": "dotted", "https://example.com/t": "URL", "/a/": "empty", "/a/x~1y": "slash", "/a/x~0y": "tilde", "/a/~01": "escaped",
		"/a/c": nil, "/a/b/c": nil, "/list/0": nil, "/": nil, "c": nil,
	} {
		if got, present := claimName(name).in(claims); got != want || present != (want != nil) {
			t.Errorf("%s is %v, %v, want %v", name, got, present, want)
		}
	}
}

func TestExamine_ListsEveryProblem(t *testing.T) {
	is, stranger := newIssuer(t), newIssuer(t)
	v := is.verifier(t)
	bad := stranger.ed.sign(t, nil, payload(t, map[string]any{"iss": "x", "aud": "y", "exp": 1, "sub": ""}))
	e := v.Examine(bad)
	all := strings.Join(e.Wrong, "\n")
	for _, want := range []string{"not signed with", "issuer is not", "audience is not", "expired at 1970", "subject"} {
		if !strings.Contains(all, want) {
			t.Errorf("nothing of %q in\n%s", want, all)
		}
	}
	if e.Signed || e.Principal != nil || string(e.Claims) != `{"aud":"y","exp":1,"iss":"x","sub":""}` {
		t.Errorf("%+v", e)
	}
	if e := v.Examine(is.signed(t, good(map[string]any{"iss": "x"}))); !e.Signed || len(e.Wrong) != 1 {
		t.Errorf("a token that is signed: %+v", e)
	}
	if e := v.Examine(is.signed(t, good(nil))); !e.Signed || e.Principal == nil || e.Principal.Tenant != "acme" || len(e.Wrong) > 0 {
		t.Errorf("a good token: %+v", e)
	}
}
