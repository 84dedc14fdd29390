package dynamodb

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// Reader reads a table that a projector writes, and never writes itself.
type Reader struct{ s *sink }

// OpenReader reads the settings of the sink. Whether the table is there shows when it
// is read: a reader needs the right to BatchGetItem only.
func OpenReader(ctx context.Context, cfg projector.Settings) (*Reader, error) {
	_, s, err := build(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Reader{s}, nil
}

// Close lets the connections go.
func (r *Reader) Close() error { return r.s.Close() }

// maxBatchGet is how many items DynamoDB reads in a request.
const maxBatchGet = 100

// Get returns the keys' items that this ledger's projector has written, including
// tombstones. The error is a *projector.RefusedError for a key that the table cannot
// hold.
func (r *Reader) Get(ctx context.Context, t ledger.Tenant, keys []ledger.Key) (map[ledger.Key]projector.Item, error) {
	items := make(map[ledger.Key]projector.Item, len(keys))
	keys = slices.Clone(keys)
	slices.Sort(keys)
	for some := range slices.Chunk(slices.Compact(keys), maxBatchGet) {
		if err := r.batch(ctx, t, some, items); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func (r *Reader) batch(ctx context.Context, t ledger.Tenant, keys []ledger.Key, items map[ledger.Key]projector.Item) error {
	ctx = awssdk.As(ctx, t)
	request := types.KeysAndAttributes{ConsistentRead: aws.Bool(true)}
	for _, k := range keys {
		at, err := r.s.layout.primaryKey(t, k)
		if err != nil {
			return fmt.Errorf("read %s of %s: %w", k, t, err)
		}
		request.Keys = append(request.Keys, r.s.key(at))
	}
	open := map[string]types.KeysAndAttributes{r.s.table: request}
	for pause := 25 * time.Millisecond; ; pause *= 2 {
		out, err := r.s.client.BatchGetItem(ctx, &sdk.BatchGetItemInput{RequestItems: open})
		if err != nil {
			return r.s.explain(fmt.Sprintf("read %d keys of %s in %s", len(keys), t, r.s.table), err)
		}
		for _, found := range out.Responses[r.s.table] {
			if item := r.s.item(found); item.Revision > 0 {
				items[item.Key] = item
			}
		}
		if open = out.UnprocessedKeys; len(open) == 0 {
			return nil
		}
		select { // a page was full, or DynamoDB wants less
		case <-time.After(min(pause, time.Second)):
		case <-ctx.Done():
			return fmt.Errorf("read %d keys of %s in %s: %w", len(keys), t, r.s.table, ctx.Err())
		}
	}
}
