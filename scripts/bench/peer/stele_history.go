package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Replay is an import, as a stream of commits that keep their times and authors.
func (c *steleClient) Replay(ctx context.Context, tenant string, sets []ChangeSet) ([]int64, error) {
	g, ctx := errgroup.WithContext(ctx)
	stream, err := c.ledger().CommitStream(ctx, c.as(tenant))
	if err != nil {
		return nil, err
	}
	g.Go(func() error {
		for _, set := range sets {
			req := &stelev1.CommitRequest{Message: set.Message, Import: &stelev1.Import{Time: timestamppb.New(set.Time), Author: set.Author}}
			for _, e := range set.Changes {
				req.Changes = append(req.Changes, &stelev1.Change{Key: e.Key, Value: e.Value, Delete: e.Value == ""})
			}
			if err := stream.Send(&stelev1.CommitStreamRequest{Commit: req}); err != nil {
				return nil // the receiver learns why
			}
		}
		return stream.CloseSend()
	})
	revisions := make([]int64, len(sets))
	g.Go(func() error {
		for i := range revisions {
			r, err := stream.Recv()
			if err != nil {
				return fmt.Errorf("stele: change set %d of %s: %w", i, tenant, err)
			}
			revisions[i] = int64(r.Commit.Revision)
		}
		return nil
	})
	return revisions, g.Wait()
}

func (c *steleClient) ReadAt(ctx context.Context, tenant, key string, revision int64) error {
	req := &stelev1.GetRequest{Key: key}
	if revision > 0 {
		req.At = &stelev1.At{Point: &stelev1.At_Revision{Revision: uint64(revision)}}
	}
	_, err := c.config().Get(ctx, req, c.as(tenant))
	return err
}

func (c *steleClient) Log(ctx context.Context, tenant, key string, commits int) error {
	r, err := c.ledger().ListCommits(ctx, &stelev1.ListCommitsRequest{
		Keys: &stelev1.ListCommitsRequest_Key{Key: key}, PageSize: uint32(commits), OnlyMatchingChanges: true, PreviousValues: true,
	}, c.as(tenant))
	if err == nil && len(r.Commits) != commits {
		err = fmt.Errorf("stele: the log of %s has %d commits", key, len(r.Commits))
	}
	return err
}

func (c *steleClient) Diff(ctx context.Context, tenant string, from, to time.Time) (int, error) {
	at := func(t time.Time) *stelev1.At { return &stelev1.At{Point: &stelev1.At_Time{Time: timestamppb.New(t)}} }
	req := &stelev1.DiffRequest{From: at(from), To: at(to), PageSize: 10_000}
	for n := 0; ; {
		r, err := c.ledger().Diff(ctx, req, c.as(tenant))
		if err != nil {
			return 0, err
		}
		n += len(r.Diffs)
		if req.PageToken = r.NextPageToken; req.PageToken == "" {
			return n, nil
		}
	}
}

func (c *steleClient) RollbackOne(ctx context.Context, tenant string) error {
	head, err := c.ledger().GetHead(ctx, &stelev1.GetHeadRequest{}, c.as(tenant))
	if err != nil {
		return err
	}
	r, err := c.ledger().Rollback(ctx, &stelev1.RollbackRequest{
		To:           &stelev1.At{Point: &stelev1.At_Revision{Revision: head.Snapshot.Head - 1}},
		ExpectedHead: &head.Snapshot.Head,
	}, c.as(tenant))
	if err == nil && r.Commit == nil {
		err = errors.New("stele: the rollback changed nothing")
	}
	return err
}

// Verify is "stele verify" on the stopped ledger's folder.
func (s Stele) Verify(ctx context.Context, dir string) error {
	if out, err := exec.CommandContext(ctx, s.Binary, "verify", "--data", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("verify stele: %w\n%s", err, out)
	}
	return nil
}

func (Stele) ForgetTree(dir string) error { return os.Remove(filepath.Join(dir, "tree.db")) }

func (c *steleClient) Covered(ctx context.Context, tenants []string) error {
	for _, tenant := range tenants {
		head, err := c.ledger().GetHead(ctx, &stelev1.GetHeadRequest{}, c.as(tenant))
		if err != nil {
			return err
		}
		r, err := stelev1.NewProofClient(c.next()).GetCheckpoint(ctx, &stelev1.GetCheckpointRequest{}, c.as(tenant))
		if err != nil {
			return err
		}
		if r.CoveredRevision < head.Snapshot.Head {
			return fmt.Errorf("stele: %d of %d commits of %s are covered", r.CoveredRevision, head.Snapshot.Head, tenant)
		}
	}
	return nil
}
