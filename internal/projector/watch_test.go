package projector_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/dynamodb"
	"github.com/stelehq/stele/internal/projector/dynamotest"
)

// A manual change is repaired as soon as the table's stream reports it, without a sweep. The
// projector's own writes are neither drift nor read again.
func TestWatch_DriftIsFoundWithoutASweep(t *testing.T) {
	server := dynamotest.StartStreams(t)
	server.Deny("Query") // sweeps find nothing
	w := newWorld(t, fmt.Sprintf(`{"sinks":{"table":{"kind":"dynamodb","endpoint":%q,"create":true,"streams":true}},"routes":[{"prefix":"a/","sinks":["table"],"drift":"repair"}]}`, server.URL))
	w.destinations = projector.Destinations{Endpoints: []string{server.URL}}
	w.kinds = map[string]projector.Kind{"dynamodb": dynamodb.Open}
	w.start(w.node, true)
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithBaseEndpoint(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	hand := sdk.NewFromConfig(cfg)
	table, key := aws.String("stele-config"), map[string]types.AttributeValue{"tenant": &types.AttributeValueMemberS{Value: "acme"}, "key": &types.AttributeValueMemberS{Value: "a/x"}}
	get := func() map[string]types.AttributeValue {
		t.Helper()
		out, err := hand.GetItem(t.Context(), &sdk.GetItemInput{TableName: table, Key: key, ConsistentRead: aws.Bool(true)})
		if err != nil {
			t.Fatal(err)
		}
		return out.Item
	}
	is := func(want string) func() bool {
		return func() bool {
			v, ok := get()["value"].(*types.AttributeValueMemberS)
			return ok && v.Value == want
		}
	}
	shown := func() string { return fmt.Sprint(get()) }
	reads := func(n int) { // waits until the stream was read so often
		t.Helper()
		from := server.Calls("GetRecords")
		until(t, func() bool { return server.Calls("GetRecords") >= from+n }, func() string { return "the stream is not read" })
	}

	until(t, func() bool { return w.status("table", "").Owner != "" }, func() string { return "no owner" })
	reads(1)
	w.commit("acme", map[ledger.Key]string{"a/x": `"of the ledger"`, "a/y": "1"})
	until(t, func() bool { return w.status("table", "").LagRevisions == 0 }, func() string { return w.status("table", "").String() })
	reads(2)
	if n := server.Calls("GetItem"); n > 0 {
		t.Errorf("the projector read %d of its own items again", n)
	}

	edit := func() {
		t.Helper()
		if _, err := hand.UpdateItem(t.Context(), &sdk.UpdateItemInput{TableName: table, Key: key, UpdateExpression: aws.String("SET #v = :v"),
			ExpressionAttributeNames: map[string]string{"#v": "value"}, ExpressionAttributeValues: map[string]types.AttributeValue{":v": &types.AttributeValueMemberS{Value: "by hand"}}}); err != nil {
			t.Fatal(err)
		}
	}
	edit()
	until(t, is("of the ledger"), shown)
	if _, err := hand.DeleteItem(t.Context(), &sdk.DeleteItemInput{TableName: table, Key: key}); err != nil {
		t.Fatal(err)
	}
	until(t, is("of the ledger"), shown)

	// The stream is turned off and on: the store is watched again.
	server.Disable("stele-config")
	until(t, func() bool { return w.status("table", "").LastError != "" }, func() string { return "no error is shown" })
	server.Enable("stele-config", "NEW_IMAGE")
	before := server.Calls("GetShardIterator")
	until(t, func() bool { return server.Calls("GetShardIterator") > before }, func() string { return "the new stream is not read" })
	reads(1)
	edit()
	until(t, is("of the ledger"), shown)
	if st := w.status("table", ""); st.Drifted > 0 {
		t.Errorf("%v", st)
	}
}
