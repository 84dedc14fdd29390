package dynamodb_test

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/dynamodb"
	"github.com/stelehq/stele/internal/projector/dynamotest"
)

func TestOpen_Rejects(t *testing.T) {
	endpoint := dynamotest.Start(t)
	c := client(t, endpoint)
	table := func(name string, keys ...string) { // pairs of a name and a type
		in := &sdk.CreateTableInput{TableName: &name, BillingMode: types.BillingModePayPerRequest}
		for i := 0; i < len(keys); i += 2 {
			in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: &keys[i], AttributeType: types.ScalarAttributeType(keys[i+1])})
			in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: &keys[i], KeyType: []types.KeyType{types.KeyTypeHash, types.KeyTypeRange}[i/2]})
		}
		if _, err := c.CreateTable(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	table("other-names", "pk", "S", "sk", "S")
	table("no-sort-key", "tenant", "S")
	table("of-numbers", "tenant", "S", "key", "N")
	for json, want := range map[string]string{
		`{"table": "missing"}`:                                                  `"create": true`,
		`{"table": "other-names"}`:                                              "HASH pk S, RANGE sk S, and the layout's are HASH tenant S, RANGE key S",
		`{"table": "other-names", "create": true}`:                              "HASH pk S",
		`{"table": "no-sort-key"}`:                                              "HASH tenant S, and",
		`{"table": "of-numbers"}`:                                               "RANGE key N",
		`{"tabel": "x"}`:                                                        "tabel",
		`{"table": "x", "tombstone_ttl": "1h"}`:                                 "at least 24h",
		`{"table": "x", "tombstone_ttl": "soon"}`:                               "at least 24h",
		`{"table": "x", "layout": "aws"}`:                                       `one of [aws-sample stele]`,
		`{"table": "x", "layout": {"preset": "aws"}}`:                           `one of [aws-sample stele]`,
		`{"table": "x", "layout": 1}`:                                           "settings of sink",
		`{"table": "x", "layout": {"values": "v"}}`:                             "values",
		`{"table": "x", "layout": {"value": "json"}}`:                           `"json"`,
		`{"table": "x", "layout": {"value": ""}}`:                               `""`,
		`{"table": "x", "layout": {"value": "tenant"}}`:                         `"tenant"`,
		`{"table": "x", "layout": {"partition_value": "all"}}`:                  "{tenant}",
		`{"table": "x", "layout": {"partition_value": "a/{tenant}"}}`:           "no \"/\"",
		`{"table": "x", "layout": {"sort_value": "{path}{path}"}}`:              "{path} once",
		`{"table": "x", "layout": {"prefix": "a b"}}`:                           "prefix",
		`{"table": "x", "layout": {"preset": "aws-sample", "sort_value": "a"}}`: "{path}",
	} {
		_, err := dynamodb.Open(t.Context(), projector.Settings{Name: "d", Local: true, JSON: fmt.Appendf(nil, `{"endpoint": %q, %s`, endpoint, json[1:])})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", json, err, want)
		}
	}
}

// dynalite supports neither, which is only logged.
func TestCreate_EnablesExpiryAndRecovery(t *testing.T) {
	var log strings.Builder
	endpoint := dynamotest.Start(t)
	p := between(t, endpoint)
	var asked []string
	p.set(func(r request) fault {
		if strings.HasPrefix(r.operation, "Update") {
			asked = append(asked, r.operation+" "+r.body)
		}
		return fault{}
	})
	cfg := settings(p.endpoint, "config", `, "tombstone_ttl": "24h"`)
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	for range 2 { // the second time the table is there
		if _, err := dynamodb.Open(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.Join(asked, "\n")
	for _, want := range []string{
		`UpdateTimeToLive {"TableName":"config","TimeToLiveSpecification":{"AttributeName":"expires","Enabled":true}}`,
		`UpdateContinuousBackups {"PointInTimeRecoverySpecification":{"PointInTimeRecoveryEnabled":true},"TableName":"config"}`,
	} {
		if strings.Count(text, want) != 2 {
			t.Errorf("it asked for\n%s\nnot for %s", text, want)
		}
	}
	for _, want := range []string{"cannot turn on the TTL", "cannot turn on point-in-time recovery", "tombstones will never expire"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
}

func TestScan_ReadsAllPages(t *testing.T) {
	endpoint := dynamotest.Start(t)
	store := open(t, endpoint, "config", "")
	want := make(map[ledger.Key]bool)
	for i := range 12 { // 2.4 MB, of which a page holds 1
		w := write(1, ledger.Key(fmt.Sprint("k", i)), ledger.Value(`"`+strings.Repeat("x", 200<<10)+`"`))
		must(t, store, w)
		want[w.Key] = true
	}
	must(t, store, write(2, "k3", ""))
	got := make(map[ledger.Key]bool)
	if err := store.Scan(t.Context(), "acme", func(i projector.Item) error { got[i.Key] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the scan yields %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := store.Scan(ctx, "acme", func(projector.Item) error { return nil }); err == nil {
		t.Error("a scan that was cut off does not say so")
	}
}
