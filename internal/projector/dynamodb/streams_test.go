package dynamodb_test

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/routes"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/dynamodb"
	"github.com/stelehq/stele/internal/projector/dynamotest"
)

// watching is a store whose table's stream is read.
type watching struct {
	*testing.T
	server *dynamotest.Streams
	store  projector.Watcher
	hand   *sdk.Client
	items  chan projector.Item
	ended  chan error
	edits  int
}

func startWatching(t *testing.T, more string) *watching {
	t.Helper()
	w := &watching{T: t, server: dynamotest.StartStreams(t)}
	store, ok := open(t, w.server.URL, "config", more).(projector.Watcher)
	if !ok {
		t.Fatal("the store does not watch its table")
	}
	w.store, w.hand = store, client(t, w.server.URL)
	return w
}

// watch reads the stream until the test ends. It returns once the stream is being read.
func (w *watching) watch() {
	w.Helper()
	w.items, w.ended = make(chan projector.Item, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(w.Context())
	items, ended := w.items, w.ended
	done := make(chan struct{})
	before := w.server.Calls("GetRecords")
	go func() {
		defer close(done)
		ended <- w.store.Watch(ctx, func(i projector.Item) error { items <- i; return nil })
	}()
	w.Cleanup(func() { cancel(); <-done })
	for w.server.Calls("GetRecords") == before {
		select {
		case err := <-ended:
			w.Fatalf("it ends with %v", err)
		default:
		}
	}
}

func (w *watching) next() projector.Item {
	w.Helper()
	select {
	case i := <-w.items:
		return i
	case err := <-w.ended:
		w.Fatalf("it ends with %v", err)
	case <-w.Context().Done():
		w.Fatal("nothing comes")
	}
	panic("unreachable")
}

// edit changes an item by hand.
func (w *watching) edit(sort string) string {
	w.Helper()
	w.edits++
	value := strings.Repeat("x", w.edits)
	if _, err := w.hand.UpdateItem(w.Context(), &sdk.UpdateItemInput{
		TableName: aws.String("config"), Key: attributes{"tenant": s("acme"), "key": s(sort)}, UpdateExpression: aws.String("SET #v = :v"),
		ExpressionAttributeNames: map[string]string{"#v": "value"}, ExpressionAttributeValues: attributes{":v": s(value)},
	}); err != nil {
		w.Fatal(err)
	}
	return `"` + value + `"`
}

// sees edits an item by hand, and waits until the change is reported.
func (w *watching) sees(sort string) {
	w.Helper()
	want := w.edit(sort)
	if got := w.next(); got.Name != "config/acme/"+sort || string(got.Value) != want || got.State == nil {
		w.Errorf("an edit of %s is reported as %+v, want %s", sort, got, want)
	}
}

func TestStreams(t *testing.T) {
	w := startWatching(t, `, "streams": true`)
	own := func(rev ledger.Revision, v ledger.Value) projector.Write {
		t.Helper()
		write := projector.Write{Tenant: "acme", Key: "a/b", Value: v, Revision: rev, Route: &routes.Route{}}
		if errs, err := w.store.Write(t.Context(), []projector.Write{write}); err != nil || errs[0] != nil {
			t.Fatal(err, errs)
		}
		return write
	}
	own(1, `"before it is watched"`)
	w.watch()

	// Its own write is reported as it reads it back. The same again changes nothing.
	write := own(2, `{"list":[1,"x",true,null],"map":{"a":{}}}`)
	own(2, write.Value)
	if got := w.next(); !w.store.Same(got, write) {
		t.Errorf("an own write is reported as %+v", got)
	}
	w.sees("a/b")
	w.sees("a/new")
	if _, err := w.hand.DeleteItem(t.Context(), &sdk.DeleteItemInput{TableName: aws.String("config"), Key: attributes{"tenant": s("acme"), "key": s("a/b")}}); err != nil {
		t.Fatal(err)
	}
	if got := w.next(); got.Name != "config/acme/a/b" || got.State != nil || got.Tenant != "acme" || got.Key != "a/b" {
		t.Errorf("a deletion is reported as %+v", got)
	}

	// Of what came while a shard ended, nothing is missing.
	w.edit("a/1")
	w.server.Split("config")
	w.edit("a/2")
	w.edit("a/3")
	w.server.Split("config")
	w.edit("a/4")
	got := make(map[ledger.Key]bool)
	for range 4 {
		got[w.next().Key] = true
	}
	if len(got) != 4 {
		t.Errorf("over shards that end it sees %v", got)
	}
	w.server.Expire()
	w.sees("a/5")
	w.edit("a/5")
	w.server.Trim("config")
	w.sees("a/6")
	w.server.Disable("config")
	if err := <-w.ended; err == nil || !strings.Contains(err.Error(), "turned off") {
		t.Errorf("without a stream it ends with %v", err)
	}
	if err := w.store.Watch(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "has no stream") {
		t.Errorf("without a stream it ends with %v", err)
	}

	w.server.Enable("config", "KEYS_ONLY")
	w.watch()
	w.edit("a/b")
	if got := w.next(); got.Name != "config/acme/a/b" || got.State != nil {
		t.Errorf("a stream of keys reports %+v", got)
	}
}

// Items of other programs in the same table are none of its business.
func TestStreams_OtherItems(t *testing.T) {
	w := startWatching(t, `, "streams": true, "layout": {"partition_value": "T#{tenant}"}`)
	w.watch()
	w.edit("other/program")
	write := projector.Write{Tenant: "acme", Key: "a", Value: "1", Revision: 1, Route: &routes.Route{}}
	if errs, err := w.store.Write(t.Context(), []projector.Write{write}); err != nil || errs[0] != nil {
		t.Fatal(err, errs)
	}
	if got := w.next(); got.Key != "a" {
		t.Errorf("it reports %+v", got)
	}
}

// Only the settings turn the stream on, and a stream that is on stays.
func TestStreams_Settings(t *testing.T) {
	server := dynamotest.StartStreams(t)
	if _, ok := open(t, server.URL, "config", "").(projector.Watcher); ok {
		t.Error("a store without the setting watches its table")
	}
	streamOf := func() string {
		t.Helper()
		out, err := client(t, server.URL).DescribeTable(t.Context(), &sdk.DescribeTableInput{TableName: aws.String("config")})
		if err != nil {
			t.Fatal(err)
		}
		return aws.ToString(out.Table.LatestStreamArn)
	}
	if arn := streamOf(); arn != "" {
		t.Errorf("the table has the stream %s", arn)
	}
	open(t, server.URL, "config", `, "streams": true`)
	first := streamOf()
	open(t, server.URL, "config", `, "streams": true`)
	if first == "" || streamOf() != first {
		t.Errorf("the stream is first %q, then %q", first, streamOf())
	}

	server.Deny("DescribeStream")
	store := open(t, server.URL, "config", `, "streams": true`)
	if err := store.(projector.Watcher).Watch(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "DescribeStream") {
		t.Errorf("without permission: %v", err)
	}
	if _, err := dynamodb.Fit(settings(server.URL, "config", `, "streams": true`)); err != nil {
		t.Error(err)
	}
}
