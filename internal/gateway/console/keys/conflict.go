package keys

import (
	"context"
	"net/http"
	"strconv"

	"github.com/stelehq/stele/internal/gateway/console/diff"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/patch"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// conflict is another user's change while a form was filled in.
type conflict struct {
	base     uint64         // the revision that the form began with
	theirs   *stelev1.Entry // nil: they have deleted it
	commit   *stelev1.CommitInfo
	between  diff.Change // from what the form began with to theirs
	mine     diff.Change // from what the form began with to what it holds
	identity bool        // theirs is what the form holds
	// mergeable: both sides have a value that can be shown, so their changes can be merged.
	mergeable bool
	merged    ledger.Value
	result    diff.Change // from theirs to merged
	places    []place     // that both sides have changed
	undecided bool        // the form does not decide all of them
	// incomplete: the form was sent to be merged, and does not decide all of them.
	incomplete bool
}

// place is a conflict of a merge, as in the form.
type place struct {
	patch.Conflict
	choice string // "mine", "theirs" or not chosen yet
}

// field is the name of the place's field.
func (p place) field() string { return "choice " + p.Path }

// findConflict finds the changes of the form's key since it was loaded, merges them with the
// form's value, and makes the form one that would overwrite them.
func findConflict(v *page.View, f *writeForm) error {
	var was, is *stelev1.GetResponse
	var list *stelev1.ListCommitsResponse
	err := page.Together(v.Ctx, func(ctx context.Context) (err error) {
		is, err = v.Config.Get(ctx, &stelev1.GetRequest{Key: f.Key})
		return unlessNotFound(err)
	}, func(ctx context.Context) (err error) {
		if f.Expected != 0 {
			was, err = v.Config.Get(ctx, &stelev1.GetRequest{Key: f.Key, At: page.Revision(f.Expected)})
		}
		return unlessNotFound(err)
	}, func(ctx context.Context) (err error) {
		list, err = v.Ledger.ListCommits(ctx, &stelev1.ListCommitsRequest{Keys: &stelev1.ListCommitsRequest_Key{Key: f.Key}, PageSize: 1, OmitValues: true})
		return err
	})
	if err != nil {
		return err
	}
	before, theirs := was.GetEntry().GetValue(), is.GetEntry()
	c := &conflict{base: f.Expected, theirs: theirs, between: diff.Of(f.Key, before, theirs.GetValue())}
	f.conflict = c
	if len(list.Commits) > 0 {
		c.commit = list.Commits[0]
	}
	f.Expected, f.Commit = theirs.GetRevision(), is.GetCommitId()
	mine, err := ledger.ParseValue(f.JSON())
	if err != nil {
		f.valueProblem = err.Error()
		return nil
	}
	c.mine = diff.Of(f.Key, before, string(mine))
	c.identity = theirs != nil && mine.Equal(ledger.Value(theirs.Value))
	if theirs == nil || c.identity || format.IsMask(theirs.Value) || format.IsMask(before) {
		return nil
	}
	c.mergeable = true
	c.merged, _, err = patch.Merge(ledger.Value(before), mine, ledger.Value(theirs.Value), func(p patch.Conflict) bool {
		chosen := place{Conflict: p}
		chosen.choice = v.R.PostFormValue(chosen.field())
		c.places = append(c.places, chosen)
		c.undecided = c.undecided || chosen.choice != "mine" && chosen.choice != "theirs"
		return chosen.choice == "theirs"
	})
	if err != nil {
		return err
	}
	c.result = diff.Of(f.Key, theirs.Value, string(c.merged))
	return nil
}

// merge reviews the form with the merge of its value and the other user's, if the form has
// decided all conflicts and the key has not changed again.
func merge(v *page.View, f writeForm, isNew bool) error {
	shown := f.Expected
	base, err := strconv.ParseUint(v.R.PostFormValue("base"), 10, 64)
	if err != nil {
		return status.Error(codes.InvalidArgument, "the form names no revision: load the page again")
	}
	f.Expected = base
	if err := findConflict(v, &f); err != nil {
		return err
	}
	c := f.conflict
	c.incomplete = c.undecided
	if !c.mergeable || c.undecided || f.Expected != shown {
		return showForm(v, http.StatusConflict, f, isNew)
	}
	f.Value, f.conflict = format.Pretty(string(c.merged)), nil
	return reviewWrite(v, f, isNew)
}

func unlessNotFound(err error) error {
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}
