package console

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// changesOnPage is how many changes of a commit a page shows.
const changesOnPage = 100

// commitView is a commit and its proof, as far as it exists.
type commitView struct {
	info    *stelev1.CommitInfo
	changes []keyChange // those on the page
	from    int
	proof   *stelev1.GetCheckpointResponse // nil without one
	noProof string                         // why
}

func (c *commitView) revision() uint64 { return c.info.Commit.Revision }
func (c *commitView) id() string       { return hex.EncodeToString(c.info.Id) }

// signed says whether the newest checkpoint covers the commit.
func (c *commitView) signed() bool { return c.proof.GetCoveredRevision() >= c.revision() }

// commits are the pages of one commit: /commits/42, and the actions on it.
func (c *Console) commits(v *visit) error {
	number, page, _ := strings.Cut(v.rest, "/")
	revision, err := strconv.ParseUint(number, 10, 64)
	if err != nil || revision == 0 {
		return errNoPlace
	}
	get, post := v.r.Method != http.MethodPost, v.r.Method == http.MethodPost
	switch {
	case page == "" && get:
		return c.showCommit(v, revision)
	case page == "receipt" && get:
		return c.receipt(v, revision)
	case page == "revert" && get:
		return c.showRevert(v, http.StatusOK, revision, "")
	case page == "revert" && post:
		return c.revert(v, revision)
	}
	return errNoPlace
}

func (c *Console) showCommit(v *visit, revision uint64) error {
	view := &commitView{from: number(v.r.FormValue("from"))}
	err := v.load(func(ctx context.Context) error {
		got, err := c.ledger.GetCommit(ctx, &stelev1.GetCommitRequest{Commit: &stelev1.GetCommitRequest_Revision{Revision: revision}, PreviousValues: true})
		view.info = got.GetInfo()
		return err
	}, func(ctx context.Context) (err error) {
		if view.proof, err = c.proof.GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{}); err != nil {
			view.noProof = statusMessage(err)
		}
		return nil // without a proof, the commit is still there
	})
	if err != nil {
		return err
	}
	view.cut()
	v.head.Snapshot.Head = max(v.head.Snapshot.Head, revision)
	return v.show(http.StatusOK, "Commit @"+revisionOf(revision), command{"-t", string(v.tenant), "show", "@" + revisionOf(revision)}, commitPage(v, view))
}

// cut keeps the changes of the page, and compares only those.
func (c *commitView) cut() {
	all := len(c.info.Commit.Changes)
	c.from = min(max(c.from, 0), max(all-1, 0)) / changesOnPage * changesOnPage
	end := min(c.from+changesOnPage, all)
	part := &stelev1.CommitInfo{Commit: &stelev1.Commit{Changes: c.info.Commit.Changes[c.from:end]}}
	if len(c.info.PreviousValues) == all {
		part.PreviousValues = c.info.PreviousValues[c.from:end]
	}
	c.changes = changesOf(part)
}

// receipt proves the commit to a holder of the ledger's public key.
func (c *Console) receipt(v *visit, revision uint64) error {
	signed, err := c.proof.GetCheckpoint(v.ctx, &stelev1.GetCheckpointRequest{CoversRevision: revision})
	if err != nil {
		return err
	}
	key, err := proof.ParseVerifier(signed.Key)
	if err != nil {
		return fmt.Errorf("read the ledger's public key: %w", err)
	}
	at, err := proof.Open(signed.Checkpoint, key)
	if err != nil {
		return fmt.Errorf("open a checkpoint: %w", err)
	}
	resp, err := c.proof.ProveInclusion(v.ctx, &stelev1.ProveInclusionRequest{TreeSize: uint64(at.Size), FromRevision: revision, ToRevision: revision})
	if err != nil {
		return err
	}
	if len(resp.Proofs) != 1 {
		return fmt.Errorf("%d proofs came for %s@%d", len(resp.Proofs), v.tenant, revision)
	}
	p := proof.Proven{Commit: resp.Proofs[0].Commit, Index: int64(resp.Proofs[0].Index)}
	for _, h := range resp.Proofs[0].Hashes {
		if len(h) != tlog.HashSize {
			return fmt.Errorf("a proof of %s@%d has a hash of %d bytes", v.tenant, revision, len(h))
		}
		p.Path = append(p.Path, tlog.Hash(h))
	}
	r := proof.Receipt{Proven: p, Signed: signed.Checkpoint}
	if _, _, err := r.Verify(key); err != nil {
		return fmt.Errorf("verify the receipt of %s@%d: %w", v.tenant, revision, err)
	}
	return v.file(fmt.Sprintf("%s-%d.receipt", v.tenant, revision), "text/plain; charset=utf-8", r.Text())
}

// revertView is what taking a commit back would change.
type revertView struct {
	revision uint64
	changes  []keyChange
	more     int // changes that are not told
	head     uint64
	headID   []byte
	message  string
	form     string
	problem  string
	later    []laterCommit // what stands in its way
}

// laterCommit has changed a key after the commit that was to be taken back.
type laterCommit struct {
	key, what string
}

// showRevert previews what taking a commit back would change.
func (c *Console) showRevert(v *visit, code int, revision uint64, problem string) error {
	view := &revertView{revision: revision, form: uuid.NewString(), message: v.r.FormValue("message"), problem: problem}
	err := v.load(func(ctx context.Context) error {
		preview, err := c.ledger.Revert(ctx, &stelev1.RevertRequest{Revisions: []uint64{revision}, DryRun: true})
		if status.Code(err) == codes.FailedPrecondition {
			code, view.later, view.problem = http.StatusConflict, laterCommits(err), statusMessage(err)
			return nil
		}
		if err != nil {
			return err
		}
		view.head, view.headID, view.more = preview.Head, preview.HeadId, max(len(preview.Changes)-changesOnPage, 0)
		view.changes, err = c.compared(ctx, preview.Changes[:len(preview.Changes)-view.more], preview.Head)
		return err
	})
	if err != nil {
		return err
	}
	title := "Revert @" + revisionOf(revision)
	return v.show(code, title, command{"-t", string(v.tenant), "revert", "@" + revisionOf(revision)}, revertPage(v, view))
}

// compared shows the effect of changes on the state at a revision.
func (c *Console) compared(ctx context.Context, changes []*stelev1.Change, at uint64) ([]keyChange, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	req := &stelev1.BatchGetRequest{At: &stelev1.At{Point: &stelev1.At_Revision{Revision: at}}}
	for _, ch := range changes {
		req.Keys = append(req.Keys, ch.Key)
	}
	got, err := c.config.BatchGet(ctx, req)
	if err != nil {
		return nil, err
	}
	is := map[string]string{}
	for _, e := range got.Entries {
		is[e.Key] = e.Value
	}
	out := make([]keyChange, len(changes))
	for i, ch := range changes {
		out[i] = changeOf(ch.Key, is[ch.Key], ch.Value)
	}
	return out, nil
}

// revert takes a commit back, as it was previewed.
func (c *Console) revert(v *visit, revision uint64) error {
	f := formOf(v.r)
	resp, err := c.ledger.Revert(v.ctx, &stelev1.RevertRequest{
		Revisions: []uint64{revision}, Message: f.message, ExpectedHead: &f.expected, ExpectedHeadId: f.commit, RequestId: f.requestID("revert " + revisionOf(revision)),
	})
	switch {
	case status.Code(err) == codes.FailedPrecondition:
		return c.showRevert(v, http.StatusConflict, revision, "Nothing was written: there is a newer commit than this was previewed at. Look at it again.")
	case err != nil:
		return err
	case resp.Commit == nil:
		return c.showRevert(v, http.StatusOK, revision, "")
	}
	return v.redirect(place{tenant: v.tenant}.to("commits", revisionOf(resp.Commit.Revision)))
}

// hash is a shortened id: its first bytes.
func shortID(id []byte) string { return hex.EncodeToString(id[:min(len(id), 6)]) }

func previousCommit(c *stelev1.Commit) ledger.Revision { return ledger.Revision(c.Revision - 1) }
