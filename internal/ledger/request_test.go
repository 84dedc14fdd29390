package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
)

// An author's request id is bound to what it was used for: the same request gets the
// first outcome, in any process and after a restart, and another one is refused.
func TestCommit_RequestIDIsBoundToItsContent(t *testing.T) {
	s := ledgertest.Server(t)
	n := ledgertest.Start(t, s, ledgertest.Config{})
	other := ledgertest.Start(t, s, ledgertest.Config{})
	request := func(change func(*ledger.ChangeSet)) ledger.ChangeSet {
		cs := ledger.ChangeSet{
			Author: "ann", RequestID: "deploy-2026-12-02", Message: "raise it",
			Changes: []ledger.Change{{Key: "a", Value: "1"}, {Key: "b", Value: `"x"`}},
		}
		if change != nil {
			change(&cs)
		}
		return cs
	}
	first, err := n.Ledger.Commit(t.Context(), acme, request(nil))
	if err != nil {
		t.Fatal(err)
	}
	head := ledger.Revision(99)
	for name, tc := range map[string]struct {
		change func(*ledger.ChangeSet)
		same   bool
	}{
		"again":                  {nil, true},
		"with another condition": {func(cs *ledger.ChangeSet) { cs.ExpectedHead = &head }, true},
		"with a precondition":    {func(cs *ledger.ChangeSet) { cs.Preconditions = []ledger.Precondition{{Key: "a", Revision: 9}} }, true},
		"allowing what is empty": {func(cs *ledger.ChangeSet) { cs.AllowEmpty = true }, true},
		"another value":          {func(cs *ledger.ChangeSet) { cs.Changes[0].Value = "2" }, false},
		"another key":            {func(cs *ledger.ChangeSet) { cs.Changes[0].Key = "c" }, false},
		"a deletion":             {func(cs *ledger.ChangeSet) { cs.Changes[0] = ledger.Change{Key: "a", Delete: true} }, false},
		"a change less":          {func(cs *ledger.ChangeSet) { cs.Changes = cs.Changes[:1] }, false},
		"a change more":          {func(cs *ledger.ChangeSet) { cs.Changes = append(cs.Changes, ledger.Change{Key: "c", Value: "1"}) }, false},
		"another message":        {func(cs *ledger.ChangeSet) { cs.Message = "lower it" }, false},
		"a promotion":            {func(cs *ledger.ChangeSet) { cs.Origin = &ledger.PromotionOrigin{Tenant: "stage", Revision: 1} }, false},
		"what looks alike":       {func(cs *ledger.ChangeSet) { cs.Changes = []ledger.Change{{Key: "a", Value: `"1b"`}} }, false},
	} {
		for _, l := range []*ledger.Ledger{n.Ledger, other.Ledger} {
			got, err := l.Commit(t.Context(), acme, request(tc.change))
			var reused *ledger.RequestError
			switch {
			case tc.same && (err != nil || got.ID != first.ID || !got.Repeated):
				t.Errorf("%s: %v, %v; want the first outcome", name, got, err)
			case !tc.same && (!errors.As(err, &reused) || reused.Revision != first.Revision || reused.RequestID != "deploy-2026-12-02"):
				t.Errorf("%s: %v, %v; want a RequestError", name, got, err)
			}
		}
	}
	if head := n.Replica.Head(acme); head.Revision != 1 {
		t.Errorf("the head is %s, want @1", head.Revision)
	}
}

// Authors do not share request ids, and neither do importers, operators and the tenant's
// own authors: no caller can use up another caller's id, also not by importing in its name.
func TestCommit_RequestIDsAreTheirAuthors(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	imported := &ledger.Import{Time: time.Unix(1, 0), Importer: "olga"}
	for i, cs := range []ledger.ChangeSet{
		{Author: "ann", Import: imported},
		{Author: "ann", Import: &ledger.Import{Time: imported.Time, Importer: "mallory"}},
		{Author: "ann", Import: imported, ByOperator: true},
		{Author: "annr", Import: &ledger.Import{Time: imported.Time, Importer: "olga"}, RequestID: "1"},
		{Author: "mallory"},
		{Author: "ann"},
		{Author: "ann", ByOperator: true},
		{Author: "annr", RequestID: "1"},
		{Author: "an", RequestID: "nr1"},
	} {
		if cs.RequestID == "" {
			cs.RequestID = "r1"
		}
		cs.AllowEmpty = true
		cs.Changes = []ledger.Change{{Key: "a", Value: "1"}}
		got, err := n.Ledger.Commit(t.Context(), acme, cs)
		if err != nil || got.Repeated || got.Revision != ledger.Revision(i+1) {
			t.Errorf("%d: %s: %v, %v", i, cs.Author, got, err)
		}
	}
}

// Two change sets of one draft that share an id are one request, or the second is
// refused.
func TestCommit_RequestIDInOneDraft(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	var all []*ledger.Pending
	for _, v := range []ledger.Value{"1", "1", "2"} {
		p, err := n.Ledger.Submit(t.Context(), acme, ledger.ChangeSet{Author: "ann", RequestID: "r1", Changes: []ledger.Change{{Key: "a", Value: v}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	var reused *ledger.RequestError
	first, err := all[0].Wait(t.Context())
	second, again := all[1].Wait(t.Context())
	_, refused := all[2].Wait(t.Context())
	if err != nil || again != nil || second.ID != first.ID || !second.Repeated || !errors.As(refused, &reused) {
		t.Errorf("%v %v, %v %v, %v", first, err, second, again, refused)
	}
}

// A rollback is the same request as long as it asks for the same, wherever the head is.
func TestRollback_RequestIDIsBoundToItsContent(t *testing.T) {
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	for _, v := range []string{"1", "2", "3"} {
		if _, err := n.Ledger.Commit(t.Context(), acme, set("a", v)); err != nil {
			t.Fatal(err)
		}
	}
	back := func(author string, to ledger.Revision, message string) (ledger.Restored, error) {
		return n.Ledger.Rollback(t.Context(), acme, ledger.Rollback{To: to, Request: ledger.Request{Author: author, RequestID: "r1", Message: message}})
	}
	first, err := back("ann", 1, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Ledger.Commit(t.Context(), acme, set("a", "5")); err != nil {
		t.Fatal(err)
	}
	again, err := back("ann", 1, "")
	if err != nil || again.Result.ID != first.Result.ID || !again.Result.Repeated {
		t.Errorf("again: %v, %v", again.Result, err)
	}
	var reused *ledger.RequestError
	for _, err := range []error{
		failed(back("ann", 2, "")), failed(back("ann", 1, "why")),
		failed(n.Ledger.Revert(t.Context(), acme, ledger.Revert{Revisions: []ledger.Revision{1}, Request: ledger.Request{Author: "ann", RequestID: "r1"}})),
		failed(n.Ledger.Commit(t.Context(), acme, ledger.ChangeSet{Author: "ann", RequestID: "r1", Changes: []ledger.Change{{Key: "a", Value: "1"}}})),
	} {
		if !errors.As(err, &reused) {
			t.Errorf("%v, want a RequestError", err)
		}
	}
	if mine, err := back("mallory", 2, ""); err != nil || mine.Result.Repeated {
		t.Errorf("another author: %v, %v", mine.Result, err)
	}
}

func failed[T any](_ T, err error) error { return err }
