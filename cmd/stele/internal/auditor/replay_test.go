package auditor

import (
	"context"
	"errors"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
)

// listed answers a list with given entries.
type listed struct {
	stelev1.ConfigClient
	entries []*stelev1.Entry
}

func (l listed) List(context.Context, *stelev1.ListRequest, ...grpc.CallOption) (*stelev1.ListResponse, error) {
	return &stelev1.ListResponse{Entries: l.entries}, nil
}

// TestCompare_Inherited: values of bases do not contradict the commits of the tenant, if these
// name the base and do not set the key.
func TestCompare_Inherited(t *testing.T) {
	state := replay{
		ledger.BasesKey: {4, `[{"tenant":"defaults","revision":7,"follow":true}]`},
		"a/own":         {2, "1"},
		"a/deleted":     {5, ""},
	}
	entry := func(key string, revision uint64, base string, at uint64) *stelev1.Entry {
		return &stelev1.Entry{Key: key, Value: "1", Revision: revision, Base: &stelev1.BaseRef{Tenant: base, Revision: at}}
	}
	own := []*stelev1.Entry{
		{Key: string(ledger.BasesKey), Value: `[{"tenant":"defaults","revision":7,"follow":true}]`, Revision: 4},
		{Key: "a/own", Value: "1", Revision: 2},
	}
	for _, c := range []struct {
		name  string
		entry *stelev1.Entry
		valid bool
	}{
		{"inherited", entry("b/x", 4, "defaults", 7), true},
		{"inherited after the deletion of an own value", entry("a/deleted", 5, "defaults", 1), true},
		{"of another base", entry("b/x", 4, "plan", 1), false},
		{"of a revision after the pin", entry("b/x", 4, "defaults", 8), false},
		{"since another revision", entry("b/x", 3, "defaults", 7), false},
		{"in place of an own value", entry("a/own", 4, "defaults", 7), false},
		{"a list of bases", entry("_bases/list", 4, "defaults", 7), false},
		{"without a base", &stelev1.Entry{Key: "b/x", Value: "1", Revision: 4}, false},
	} {
		entries := append([]*stelev1.Entry{}, own...)
		switch c.entry.Key {
		case "a/own":
			entries[1] = c.entry
		case "_bases/list":
			entries[0] = c.entry
		case "a/deleted":
			entries = []*stelev1.Entry{own[0], c.entry, own[1]}
		default:
			entries = append(entries, c.entry)
		}
		var v Verified
		a := &Auditor{Config: listed{entries: entries}}
		switch err := a.compare(t.Context(), state, 5, &v); {
		case c.valid && (err != nil || v.Keys != 2 || v.Inherited != 1 || len(v.Bases) != 1):
			t.Errorf("%s: %+v, %v", c.name, v, err)
		case !c.valid && !errors.Is(err, proof.ErrInvalid):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
