package dynamodb_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/dynamodb"
	"github.com/stelehq/stele/internal/projector/dynamotest"
	"github.com/stelehq/stele/internal/projector/sinktest"
)

var epoch = ledger.Epoch{1, 2, 3, 4, 5, 6, 7, 8}

// open opens a table with settings that may say more than where it is.
func open(t testing.TB, endpoint, table, more string) projector.Store {
	t.Helper()
	s, err := dynamodb.Open(t.Context(), settings(endpoint, table, more))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.(projector.Store)
}

func settings(endpoint, table, more string) projector.Settings {
	return projector.Settings{Name: "dynamodb", Local: true, Epoch: epoch, JSON: fmt.Appendf(nil, `{"endpoint": %q, "table": %q, "create": true %s}`, endpoint, table, more)}
}

// client is another program's.
func client(t testing.TB, endpoint string) *sdk.Client {
	t.Helper()
	c, err := config.LoadDefaultConfig(t.Context(), config.WithBaseEndpoint(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	return sdk.NewFromConfig(c)
}

func s(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }

func n(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }

func b(v bool) types.AttributeValue { return &types.AttributeValueMemberBOOL{Value: v} }

func list(v ...types.AttributeValue) types.AttributeValue {
	return &types.AttributeValueMemberL{Value: append([]types.AttributeValue{}, v...)}
}

func object(v map[string]types.AttributeValue) types.AttributeValue {
	return &types.AttributeValueMemberM{Value: v}
}

func TestStore(t *testing.T) {
	endpoint := dynamotest.Start(t)
	hand := client(t, endpoint)
	tables := 0
	for layout, more := range map[string]string{
		"Stele": "",
		"Own":   `, "layout": {"partition": "p", "partition_value": "T#{tenant}", "sort": "s", "sort_value": "k/{path}/end", "value": "v", "revision": "rev"}`,
	} {
		t.Run(layout, func(t *testing.T) {
			sinktest.Store(t, func(t *testing.T) sinktest.Place {
				tables++
				table := fmt.Sprintf("config-%d", tables)
				partition, sort, value := "tenant", "key", "value"
				if more != "" {
					partition, sort, value = "p", "s", "v"
				}
				key := func(name string) map[string]types.AttributeValue {
					at := strings.SplitN(name, "/", 3)
					return map[string]types.AttributeValue{partition: s(at[1]), sort: s(at[2])}
				}
				return sinktest.Place{
					Conditional: true,
					Refused:     projector.Write{Key: "tenantconfig/large", Value: ledger.Value(`"` + strings.Repeat("x", 450<<10) + `"`)},
					Open: func(ctx context.Context, e ledger.Epoch) (projector.Store, error) {
						cfg := settings(endpoint, table, more)
						cfg.Epoch = e
						opened, err := dynamodb.Open(ctx, cfg)
						if err != nil {
							return nil, err
						}
						return opened.(projector.Store), nil
					},
					Fit: func(e ledger.Epoch) (projector.Fit, error) {
						cfg := settings(endpoint, table, more)
						cfg.Epoch = e
						return dynamodb.Fit(cfg)
					},
					Put: func(t testing.TB, name, text string) {
						if _, err := hand.UpdateItem(t.Context(), &sdk.UpdateItemInput{
							TableName: &table, Key: key(name), UpdateExpression: aws.String("SET #v = :v"),
							ExpressionAttributeNames: map[string]string{"#v": value}, ExpressionAttributeValues: map[string]types.AttributeValue{":v": s(text)},
						}); err != nil {
							t.Fatal(err)
						}
					},
					Delete: func(t testing.TB, name string) {
						if _, err := hand.DeleteItem(t.Context(), &sdk.DeleteItemInput{TableName: &table, Key: key(name)}); err != nil {
							t.Fatal(err)
						}
					},
				}
			})
		})
	}
}
