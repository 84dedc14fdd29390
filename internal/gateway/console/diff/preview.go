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
	keys := make([]string, len(changes))
	for i, ch := range changes {
		keys[i] = ch.Key
	}
	is := map[string]string{}
	if err := v.Values(ctx, keys, revision, func(e *stelev1.Entry) { is[e.Key] = e.Value }); err != nil {
		return nil, err
	}
	out := make([]Change, len(changes))
	for i, ch := range changes {
		out[i] = Of(ch.Key, is[ch.Key], ch.Value)
		out[i].toBase = ch.Base
	}
	return out, nil
}
