package claims

import (
	"encoding/base64"
	"testing"
	"time"
)

func TestClaims_OfAToken(t *testing.T) {
	token := func(payload string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
	}
	for payload, want := range map[string]Claims{
		`{"sub":"ann","tenant":"acme","iat":1700000000,"exp":1.7e9}`: {Subject: "ann", Tenant: "acme", Issued: time.Unix(1700000000, 0), Expires: time.Unix(1700000000, 0)},
		`{"sub":"bob","custom:tenantId":"acme"}`:                     {Subject: "bob", Tenant: "acme"},
		`{"roles":["admin"]}`:                                        {},
	} {
		got, err := Read(token(payload))
		if err != nil || got.Subject != want.Subject || got.Tenant != want.Tenant || got.Issued != want.Issued || got.Expires != want.Expires || string(got.JSON) != payload {
			t.Errorf("%s is %+v, %v", payload, got, err)
		}
	}
	for _, bad := range []string{"", "a.b", "a.!.c", token("[]"), token("x")} {
		if got, err := Read(bad); err == nil {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
}
