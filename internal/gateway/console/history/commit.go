package history

import (
	"context"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/diff"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/reason"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// commitView is a commit and its proof, as far as it exists.
type commitView struct {
	info    *stelev1.CommitInfo
	changes []diff.Change // those on the page
	from    int
	proof   *stelev1.GetCheckpointResponse // nil without one
	noProof string                         // why
}

func (c *commitView) revision() uint64 { return c.info.Commit.Revision }
func (c *commitView) id() string       { return hex.EncodeToString(c.info.Id) }

// signed reports whether the newest checkpoint covers the commit.
func (c *commitView) signed() bool { return c.proof.GetCoveredRevision() >= c.revision() }

// ShowCommit shows a commit, its receipt, or the preview of its revert.
func ShowCommit(v *page.View) error {
	revision, action, err := parseCommit(v.Rest)
	if err != nil {
		return err
	}
	switch action {
	case "":
		return showCommit(v, revision)
	case "receipt":
		return receipt(v, revision)
	case "revert":
		return showRevert(v, http.StatusOK, revision, "")
	}
	return page.ErrNotFound
}

// PostCommit reverts a commit.
func PostCommit(v *page.View) error {
	revision, action, err := parseCommit(v.Rest)
	if err != nil || action != "revert" {
		return page.ErrNotFound
	}
	return revert(v, revision)
}

// parseCommit reads the part of a path that names a commit, and the action on it.
func parseCommit(rest string) (revision uint64, action string, err error) {
	number, action, _ := strings.Cut(rest, "/")
	revision, err = strconv.ParseUint(number, 10, 64)
	if err != nil || revision == 0 {
		return 0, "", page.ErrNotFound
	}
	return revision, action, nil
}

func showCommit(v *page.View, revision uint64) error {
	view := &commitView{from: v.QueryInt("from")}
	err := v.Load(func(ctx context.Context) error {
		return view.read(ctx, v, revision)
	}, func(ctx context.Context) (err error) {
		if view.proof, err = v.Proof.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{}); err != nil {
			view.noProof = page.Message(err)
		}
		return nil // the page shows the commit without a proof
	})
	if err != nil {
		return err
	}
	v.Head.Snapshot.Head = max(v.Head.Snapshot.Head, revision)
	return v.Show(http.StatusOK, "Commit "+format.Revision(revision), v.Command("show", format.Revision(revision)), commitPage(v, view))
}

// read reads a commit, and the values that the changes on the page replaced. If the commit has replaced
// too many bytes for one answer, the values of the page are read from the state before it.
func (c *commitView) read(ctx context.Context, v *page.View, revision uint64) error {
	req := &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: revision}, PreviousValues: true}
	got, err := v.Ledger.GetCommit(ctx, req)
	tooLong := reason.Of(err) == reason.AnswerTooLarge
	if tooLong {
		req.PreviousValues = false
		got, err = v.Ledger.GetCommit(ctx, req)
	}
	if err != nil {
		return err
	}
	c.info = got.Info
	part := c.cut()
	if !tooLong {
		c.changes = diff.OfCommit(part)
		return nil
	}
	c.changes, err = diff.Preview(ctx, v, part.Commit.Changes, revision-1)
	return err
}

// cut returns the part of the commit that is on the page.
func (c *commitView) cut() *stelev1.CommitInfo {
	all := len(c.info.Commit.Changes)
	c.from = min(max(c.from, 0), max(all-1, 0)) / diff.OnPage * diff.OnPage
	end := min(c.from+diff.OnPage, all)
	part := &stelev1.CommitInfo{Commit: &stelev1.Commit{Changes: c.info.Commit.Changes[c.from:end]}}
	if len(c.info.PreviousValues) == all {
		part.PreviousValues = c.info.PreviousValues[c.from:end]
	}
	return part
}

// shortID is a shortened id: its first bytes.
func shortID(id []byte) string { return hex.EncodeToString(id[:min(len(id), 6)]) }
