package keys

import (
	"context"

	"github.com/stelehq/stele/internal/gateway/console/diff"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// conflict is another user's change while a form was filled in.
type conflict struct {
	theirs   *stelev1.Entry // nil: they have deleted it
	commit   *stelev1.CommitInfo
	between  diff.Change // from what the form began with to theirs
	mine     diff.Change // from theirs to what the form holds
	identity bool        // theirs is what the form holds
}

// findConflict finds the changes of the form's key since it was loaded, and makes the
// form one that would overwrite them.
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
	theirs := is.GetEntry()
	f.conflict = &conflict{theirs: theirs, between: diff.Of(f.Key, was.GetEntry().GetValue(), theirs.GetValue())}
	if len(list.Commits) > 0 {
		f.conflict.commit = list.Commits[0]
	}
	mine, err := ledger.ParseValue(f.JSON())
	if err != nil {
		f.valueProblem = err.Error()
	} else {
		f.conflict.mine = diff.Of(f.Key, theirs.GetValue(), string(mine))
		f.conflict.identity = f.conflict.mine.Same && theirs != nil
	}
	f.Expected, f.Commit = theirs.GetRevision(), is.GetCommitId()
	return nil
}

func unlessNotFound(err error) error {
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}
