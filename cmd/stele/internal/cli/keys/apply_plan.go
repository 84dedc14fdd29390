package keys

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// plan shows the effect of the change set, and the keys that its prune would delete,
// which it adds to the change set together with the head of the plan.
func plan(ctx context.Context, s *session.Session, a *applyFlags, cs *ledger.ChangeSet) (*stelev1.PlanResponse, error) {
	if a.prunes {
		if err := addPruned(ctx, s, a.prune, cs); err != nil {
			return nil, err
		}
	}
	resp, err := s.Ledger.Plan(ctx, &stelev1.PlanRequest{Commit: wire.CommitRequest(cs)})
	if err != nil {
		return nil, err
	}
	if s.Format != output.Text && !a.plan { // what is written is the answer
		return resp, nil
	}
	var t render.DiffTally
	for _, d := range resp.Diffs {
		t.Add(d)
		if err := render.WriteDiff(s.Printer, d); err != nil {
			return nil, err
		}
	}
	render.WarnRefusals(resp.Refusals)
	if s.Format != output.Text {
		return resp, nil
	}
	same := ""
	if n := int(resp.Sets+resp.Deletes) - len(resp.Diffs); n > 0 {
		same = fmt.Sprintf(", %s as before", output.Count(n, "key"))
	}
	return resp, s.Printf("%s would become %s: %s%s\n", render.Revision(s.Name(resp.Head)), render.Revision(s.Name(resp.Head+1)), t, same)
}

// addPruned adds a deletion for every key under the prefix that the change set does not
// name. The head must still be the one at which they were listed.
func addPruned(ctx context.Context, s *session.Session, prefix string, cs *ledger.ChangeSet) error {
	named := make(map[ledger.Key]bool)
	for _, c := range cs.Changes {
		named[c.Key] = true
	}
	req := &stelev1.ListRequest{Prefix: prefix, KeysOnly: true, PageSize: 10_000}
	var head *stelev1.Snapshot
	for {
		resp, err := s.Config.List(ctx, req)
		if err != nil {
			return err
		}
		head = resp.Snapshot // of all pages
		for _, e := range resp.Entries {
			k := ledger.Key(e.Key)
			if !named[k] && ledger.Prefix(prefix).Covers(k) {
				cs.Changes = append(cs.Changes, ledger.Change{Key: k, Delete: true})
			}
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			break
		}
	}
	rev := ledger.Revision(head.GetRevision())
	cs.ExpectedHead, cs.ExpectedHeadID = &rev, head.GetId()
	return nil
}

// prune applies the change set once the user has confirmed its deletions.
func prune(ctx context.Context, s *session.Session, cmd *cobra.Command, a *applyFlags, cs *ledger.ChangeSet) error {
	if !a.yes && (!s.CanAsk() || a.file == "-") {
		return failure.Try(failure.Usagef("cannot ask for confirmation: standard input is not a terminal"), "--plan, to see what would change, or --yes")
	}
	resp, err := plan(ctx, s, a, cs)
	if err != nil {
		return err
	}
	if len(resp.Diffs) == 0 {
		return render.Nothing(s.Printer, "there is nothing to change")
	}
	if yes, err := session.Confirmed(ctx, a.yes, "Apply?"); !yes {
		return err
	}
	return s.Commit(ctx, cmd, cs)
}

// warnAndCommit commits the change set after the warnings of warnOf. Both together take at
// most the timeout: half of it is left for the commit if the plan gets no answer.
func warnAndCommit(ctx context.Context, s *session.Session, cmd *cobra.Command, cs *ledger.ChangeSet, kinds bool) error {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	planning, planned := context.WithTimeout(ctx, s.Timeout/2)
	defer planned()
	warnOf(planning, s, cs, kinds)
	return s.Commit(ctx, cmd, cs)
}

// warnOf warns of keys that a sink would reject and, if kinds is set, of strings
// that replace a value of another type. If the plan fails, the commit reports why.
func warnOf(ctx context.Context, s *session.Session, cs *ledger.ChangeSet, kinds bool) {
	resp, err := s.Ledger.Plan(ctx, &stelev1.PlanRequest{Commit: wire.CommitRequest(cs)})
	if err != nil {
		return
	}
	render.WarnRefusals(resp.Refusals)
	if !kinds {
		return
	}
	for _, d := range resp.Diffs {
		if was := kindOf(d.FromValue); was != "" && was != "string" && kindOf(d.ToValue) == "string" {
			output.Warn(fmt.Sprintf("%s was %s and becomes a string; use --string if that is intended", d.Key, was))
		}
	}
}

// kindOf names a value's JSON type for a warning; empty if there is no value, or null.
func kindOf(value string) string {
	switch jsontext.Value(value).Kind() {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "string"
	case '0':
		return "a number"
	case 't', 'f':
		return "a boolean"
	}
	return ""
}
