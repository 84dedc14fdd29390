package identity

import (
	"slices"
	"strings"
	"testing"
)

func TestRolesMap(t *testing.T) {
	is := newIssuer(t)
	pairs := []string{"Admins=admin", "Admins=revealer", "Users=writer", "Platform Team=operator", "admin=reader"}
	for _, tt := range []struct {
		name  string
		pairs []string
		claim any
		want  []Role
	}{
		{"no map", nil, []string{"writer", "Admins"}, []Role{Writer}},
		{"groups", pairs, []string{"Users", "Admins"}, []Role{Writer, Admin, Revealer}},
		{"groups in one string", pairs, "Users Admins", []Role{Writer, Admin, Revealer}},
		{"a name with spaces in a list", pairs, []string{"Platform Team"}, []Role{Operator}},
		{"a name with spaces as a string", pairs, "Platform Team", []Role{Operator}},
		{"a role's own name that is not in the map", pairs, []string{"operator", "writer"}, nil},
		{"a role's own name that the map gives another one", pairs, "admin", []Role{Reader}},
		{"the case counts", pairs, []string{"users", "ADMINS"}, nil},
		{"twice the same", pairs, []string{"Users", "Users"}, []Role{Writer}},
		{"none", pairs, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseRolesMap(tt.pairs)
			if err != nil {
				t.Fatal(err)
			}
			is.config.RolesClaim, is.config.RolesMap = "custom:role", m
			p, err := is.verifier(t).Verify(is.rsa.sign(t, nil, payload(t, good(map[string]any{"custom:role": tt.claim, "roles": nil, "tenant": "acme"}))))
			if err != nil || !slices.Equal(p.Roles, tt.want) {
				t.Errorf("%+v, %v, want %v", p, err, tt.want)
			}
		})
	}
}

func TestParseRolesMap(t *testing.T) {
	m, err := ParseRolesMap([]string{" Users = writer ", "Admins=admin", "Admins=revealer"})
	if err != nil || m.String() != "Admins=admin,Admins=revealer,Users=writer" {
		t.Errorf("%s, %v", m, err)
	}
	for _, bad := range []string{"", "Admins", "=admin", "Admins=", "Admins=root", "Admins=Admin"} {
		if _, err := ParseRolesMap([]string{bad}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
