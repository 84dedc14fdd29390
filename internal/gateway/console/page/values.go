package page

import (
	"context"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Values yields the entries of the keys that are set at a revision. Values that are too long for one
// answer are read in several calls.
func (v *View) Values(ctx context.Context, keys []string, revision uint64, yield func(*stelev1.Entry)) error {
	got, err := v.Config.BatchGet(ctx, &stelev1.BatchGetRequest{Keys: keys, At: Revision(revision)})
	if half := len(keys) / 2; status.Code(err) == codes.InvalidArgument && half > 0 {
		if err := v.Values(ctx, keys[:half], revision, yield); err != nil {
			return err
		}
		return v.Values(ctx, keys[half:], revision, yield)
	}
	for _, e := range got.GetEntries() {
		yield(e)
	}
	return err
}
