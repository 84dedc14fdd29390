package dynamodb

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/awssdk"
)

// Scans read this many units a second, of 4 KB each, and may read as many at once. A
// partition, which a tenant is, gives 3,000.
const (
	scanRate  = 500
	scanBurst = 500
)

// name is the sink's name of the item with a primary key: TABLE/PARTITION/SORT, with the values
// of the table's keys. The partition's has no "/".
func (s *sink) name(at primaryKey) string { return s.table + "/" + at.partition + "/" + at.sort }

// Name is TABLE/PARTITION/SORT.
func (s *sink) Name(t ledger.Tenant, key ledger.Key) (string, error) {
	at, err := s.layout.primaryKey(t, key)
	if err != nil {
		return "", err
	}
	return s.name(at), nil
}

func (s *sink) primaryKey(name string) (primaryKey, error) {
	rest, ours := strings.CutPrefix(name, s.table+"/")
	partition, sort, whole := strings.Cut(rest, "/")
	at := primaryKey{partition, sort}
	if _, ok := s.layout.tenant(at); !ours || !whole || !ok || sort == "" {
		return at, projector.Refuse("%q is not an item of the table %s: its name is %s", name, s.table, s.name(primaryKey{s.layout.PartitionValue, s.layout.SortValue}))
	}
	return at, nil
}

func (s *sink) key(at primaryKey) attributes {
	return attributes{s.layout.Partition: text(at.partition), s.layout.Sort: text(at.sort)}
}

// Read returns an item as it is now.
func (s *sink) Read(ctx context.Context, name string) (projector.Item, bool, error) {
	at, err := s.primaryKey(name)
	if err != nil {
		return projector.Item{}, false, err
	}
	t, _ := s.layout.tenant(at)
	found, err := s.get(awssdk.As(ctx, t), at)
	if err != nil || found == nil {
		return projector.Item{Tenant: t, Key: s.layout.key(at), Name: name}, false, err
	}
	return s.item(found), true, nil
}

// get returns nil if the item does not exist.
func (s *sink) get(ctx context.Context, at primaryKey) (attributes, error) {
	out, err := s.client.GetItem(ctx, &sdk.GetItemInput{TableName: &s.table, Key: s.key(at), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, s.explain("read "+s.name(at), err)
	}
	return out.Item, nil
}

// unchanged reports whether the item is still as it was seen.
func (s *sink) unchanged(ctx context.Context, at primaryKey, seen attributes) (bool, error) {
	now, err := s.get(ctx, at)
	return err == nil && now != nil && s.layout.equal(now, seen), err
}

// Scan yields the tenant's partition, or as much of it as begins as the layout's sort
// keys do.
func (s *sink) Scan(ctx context.Context, t ledger.Tenant, yield func(projector.Item) error) error {
	ctx = awssdk.As(ctx, t)
	e := newExpression()
	condition := e.name(s.layout.Partition) + " = " + e.value(text(s.layout.partition(t)))
	if prefix := s.layout.sortPrefix(); prefix != "" {
		condition += fmt.Sprintf(" AND begins_with(%s, %s)", e.name(s.layout.Sort), e.value(text(prefix)))
	}
	pages := sdk.NewQueryPaginator(s.client, &sdk.QueryInput{
		TableName: &s.table, ConsistentRead: aws.Bool(true), KeyConditionExpression: &condition,
		ExpressionAttributeNames: e.names, ExpressionAttributeValues: e.values,
		ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s.explain(fmt.Sprintf("scan %s in %s", t, s.table), err)
		}
		for _, found := range page.Items {
			if err := yield(s.item(found)); err != nil {
				return err
			}
		}
		if c := page.ConsumedCapacity; c != nil {
			units := int(math.Ceil(aws.ToFloat64(c.CapacityUnits)))
			if err := s.scans.WaitN(ctx, min(units, scanBurst)); err != nil {
				return fmt.Errorf("scan %s in %s: %w", t, s.table, err)
			}
		}
	}
	return nil
}
