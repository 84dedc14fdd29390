package gateway

import (
	"cmp"
	"context"

	"github.com/stelehq/stele/internal/gateway/search"
	"github.com/stelehq/stele/internal/gateway/view"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const (
	defaultMatches = 100
	// searchKeys and searchSteps bound what one call of Search looks at: keys, and
	// search.Query.Steps, about a second of processor time.
	searchKeys  = 20_000
	searchSteps = 128 << 20
)

// Search returns the keys that match. A page ends when it is full or when the call has
// looked at enough; the next page continues there.
func (s configService) Search(ctx context.Context, req *stelev1.SearchRequest) (*stelev1.SearchResponse, error) {
	pattern, err := ledger.ParsePattern(req.Prefix)
	if err != nil {
		return nil, ledger.Invalid("prefix", err.Error())
	}
	query, err := search.Compile(req)
	if err != nil {
		return nil, err
	}
	release, err := s.g.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	redact, err := s.g.redaction.For(ctx, false)
	if err != nil {
		return nil, err
	}
	v, from, err := s.g.views.Page(ctx, req)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	limit := int(cmp.Or(req.PageSize, defaultMatches))
	resp := &stelev1.SearchResponse{Snapshot: view.SnapshotOf(v)}
	for e, err := range v.List(pattern.Range(), from) {
		if err != nil {
			return nil, err
		}
		if !pattern.Match(e.Key) {
			continue
		}
		value := e.Value
		if redact.Secret(e.Key, value) {
			value = "" // neither the outcome nor the cost depends on a secret
		}
		if len(resp.Matches) == limit || resp.Searched == searchKeys || query.Steps() > searchSteps {
			resp.NextPageToken, err = view.NewPageToken(v, 0, v.State().Revision, e.Key)
			return resp, err
		}
		resp.Searched++
		text, outcome, err := query.Test(ctx, e.Key, value)
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		switch outcome {
		case search.Match:
			resp.Matches = append(resp.Matches, &stelev1.SearchMatch{Key: string(e.Key), Revision: uint64(e.Revision), Text: text})
		case search.Skipped:
			resp.SecretsSkipped++
		case search.NotComparable:
			resp.NotComparable++
		case search.NoMatch:
		}
	}
	return resp, nil
}
