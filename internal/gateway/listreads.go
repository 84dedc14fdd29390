package gateway

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/stelehq/stele/internal/gateway/policy"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/proto"
)

const defaultReads = 100

// ListReads returns recorded reads of the tenant, newest first, as much of each as
// the caller may see. It asks the journal, not the replica, which holds none.
func (s ledgerService) ListReads(ctx context.Context, req *stelev1.ListReadsRequest) (*stelev1.ListReadsResponse, error) {
	var since, until time.Time
	var err error
	if req.Since != nil {
		if since, err = view.Time(req.Since, "since"); err != nil {
			return nil, err
		}
	}
	if req.Until != nil {
		if until, err = view.Time(req.Until, "until"); err != nil {
			return nil, err
		}
	}
	if !until.IsZero() && !until.After(since) {
		return nil, ledger.Invalid("until", "it is not after since: no read can be between them")
	}
	var before uint64
	if req.PageToken != "" {
		if before, err = strconv.ParseUint(req.PageToken, 10, 64); err != nil || before == 0 {
			return nil, view.ErrPageToken
		}
	}
	limit := int(req.PageSize)
	if limit == 0 {
		limit = defaultReads
	}
	sees, err := s.g.policy.Scope(policy.CallerOf(ctx), policy.ToAudit)
	if err != nil {
		return nil, err
	}
	log, err := s.g.policy.ReadLog()
	if err != nil {
		return nil, err
	}
	resp := &stelev1.ListReadsResponse{}
	size := 0
	for m, err := range log.ScanBack(ctx, string(policy.CallerOf(ctx).Tenant), ledger.Sequence(before), until) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if m.Time.Before(since) {
			break
		}
		record := &stelev1.ReadRecord{}
		if err := proto.Unmarshal(m.Record, record); err != nil {
			return nil, fmt.Errorf("record %d of the reads of %s: %w", m.Sequence, policy.CallerOf(ctx).Tenant, err)
		}
		seen := (policy.Asked{Keys: record.Keys, Prefixes: record.Prefixes}).Under(sees)
		if !sees.Everywhere() && seen.Nothing() {
			continue // the page says nothing about it, not by its length either
		}
		if len(resp.Reads) == limit || size > view.MaxPageBytes {
			resp.NextPageToken = strconv.FormatUint(uint64(m.Sequence)+1, 10) // it is the first of the next page
			break
		}
		record.Keys, record.Prefixes = seen.Keys, seen.Prefixes
		size += proto.Size(record)
		resp.Reads = append(resp.Reads, record)
	}
	return resp, nil
}
