package policy

import (
	"testing"
	"time"

	"github.com/stelehq/stele/internal/gateway/identity"
	"github.com/stelehq/stele/internal/ledger"
)

func TestParseRevocations_Invalid(t *testing.T) {
	for _, value := range []ledger.Value{
		`null`, `1`, `{}`, `[]`, `{"revoked":null}`, `{"revoked":[{}]}`, `{"revoked":["ann"]}`, `{"revoked":[{"sub":"ann"}]}`,
		`{"revoked":[{"jti":"a","subject":"b"}]}`, `{"revoked":[{"jti":"a","before":"2026-12-02T10:00:00Z"}]}`,
		`{"revoked":[{"subject":"ann","before":"yesterday"}]}`, `{"revoked":[],"more":1}`,
	} {
		if _, err := parseRevocations(value); err == nil {
			t.Errorf("%s is accepted", value)
		}
	}
}

func TestRevocations_Has(t *testing.T) {
	r, err := parseRevocations(`{"revoked":[{"jti":"1"},{"subject":"ann","before":"2026-12-02T10:00:00Z"},{"subject":"ann","before":"2026-12-01T10:00:00Z"},
		{"subject":"bob"},{"subject":"bob","before":"2026-12-02T10:00:00Z"},{"subject":"olga/kim"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 12, 2, 10, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		p       identity.Principal
		revoked bool
	}{
		{identity.Principal{Subject: "eve", ID: "1"}, true},
		{identity.Principal{Subject: "eve", ID: "2"}, false},
		{identity.Principal{Subject: "1"}, false},
		{identity.Principal{Subject: "ann", Issued: at.Add(-time.Second)}, true},
		{identity.Principal{Subject: "ann", Issued: at}, false},
		{identity.Principal{Subject: "ann"}, true},
		{identity.Principal{Subject: "anna"}, false},
		{identity.Principal{Subject: "bob", Issued: at.Add(time.Hour)}, true},
		// Tokens that a revoked subject has minted.
		{identity.Principal{Subject: "ann/kim", Minters: []string{"ann"}, Issued: at.Add(-time.Second)}, true},
		{identity.Principal{Subject: "ann/kim", Minters: []string{"ann"}, Issued: at}, false},
		{identity.Principal{Subject: "bob/ops/kim", Minters: []string{"bob", "bob/ops"}, Issued: at}, true},
		{identity.Principal{Subject: "bobby/kim", Minters: []string{"bobby"}, Issued: at}, false},
		{identity.Principal{Subject: "kim/bob", Minters: []string{"kim"}, Issued: at}, false},
		{identity.Principal{Subject: "olga", Issued: at}, false},
		{identity.Principal{Subject: "olga/kim", Minters: []string{"olga"}, Issued: at}, true},
		// A provider's subject.
		{identity.Principal{Subject: "bob/config", Issued: at}, false},
	} {
		if got := r.has(&tc.p); got != tc.revoked {
			t.Errorf("%+v: %v", tc.p, got)
		}
	}
	if (&revocations{}).has(&identity.Principal{Subject: "ann", ID: "1"}) {
		t.Error("a list that is not there revokes")
	}
}
