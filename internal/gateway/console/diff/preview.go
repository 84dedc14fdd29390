package diff

import (
	"context"

	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Preview returns the effect of changes on the state at a revision.
func Preview(ctx context.Context, v *page.View, changes []*stelev1.Change, revision uint64) ([]Change, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	req := &stelev1.BatchGetRequest{At: page.Revision(revision)}
	for _, ch := range changes {
		req.Keys = append(req.Keys, ch.Key)
	}
	got, err := v.Config.BatchGet(ctx, req)
	if err != nil {
		return nil, err
	}
	is := map[string]string{}
	for _, e := range got.Entries {
		is[e.Key] = e.Value
	}
	out := make([]Change, len(changes))
	for i, ch := range changes {
		out[i] = Of(ch.Key, is[ch.Key], ch.Value)
	}
	return out, nil
}
