package dynamodb_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/dynamodb"
	"github.com/stelehq/stele/internal/projector/dynamotest"
)

func reader(t *testing.T, cfg projector.Settings) *dynamodb.Reader {
	t.Helper()
	r, err := dynamodb.OpenReader(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestReader_ItemsOfTheProjector(t *testing.T) {
	endpoint := dynamotest.Start(t)
	store := open(t, endpoint, "config", "")
	h := hand{client(t, endpoint), "config"}
	r := reader(t, settings(endpoint, "config", ""))
	var keys []ledger.Key
	for i := range 230 {
		w := write(ledger.Revision(i+1), ledger.Key(fmt.Sprint("k", i)), ledger.Value(fmt.Sprint(i)))
		must(t, store, w)
		keys = append(keys, w.Key)
	}
	other := write(1, "k0", "7")
	other.Tenant = "globex"
	must(t, store, write(300, "gone", ""), other)
	h.edit(t, "foreign", "json", s("1"))
	items, err := r.Get(t.Context(), "acme", append(keys, "gone", "foreign", "never", "k3", "k3"))
	if err != nil || len(items) != len(keys)+1 {
		t.Fatalf("%d items, %v", len(items), err)
	}
	for i, k := range keys {
		if item := items[k]; item.Value != ledger.Value(fmt.Sprint(i)) || item.Revision != ledger.Revision(i+1) || item.Tenant != "acme" {
			t.Errorf("%s is %v", k, item)
		}
	}
	if gone := items["gone"]; gone.Value != "" || gone.Revision != 300 {
		t.Errorf("what was deleted is %v", gone)
	}
	cfg := settings(endpoint, "config", "")
	cfg.Epoch = ledger.Epoch{9}
	if items, err := reader(t, cfg).Get(t.Context(), "acme", keys); err != nil || len(items) > 0 {
		t.Errorf("another ledger's reader finds %v, %v", items, err)
	}
	if _, err := reader(t, settings(endpoint, "missing", "")).Get(t.Context(), "acme", keys); err == nil || !strings.Contains(err.Error(), `"create": true`) {
		t.Errorf("without a table: %v", err)
	}
	_, err = reader(t, settings(endpoint, "config", `, "layout": {"prefix": "x/"}`)).Get(t.Context(), "acme", keys)
	if _, refused := errors.AsType[*projector.RefusedError](err); !refused {
		t.Errorf("keys that the table cannot hold: %v", err)
	}
}

// DynamoDB may answer some of what it was asked for, and none at first.
func TestReader_UnprocessedKeysAreRetried(t *testing.T) {
	endpoint := dynamotest.Start(t)
	p := between(t, endpoint)
	store := open(t, endpoint, "config", "")
	var keys []ledger.Key
	for i := range 50 {
		w := write(1, ledger.Key(fmt.Sprint("k", i)), "1")
		must(t, store, w)
		keys = append(keys, w.Key)
	}
	var first atomic.Bool
	first.Store(true)
	p.set(func(r request) fault {
		if r.operation != "BatchGetItem" {
			return fault{}
		}
		var asked struct {
			RequestItems map[string]struct{ Keys []jsontext.Value }
		}
		if err := json.Unmarshal([]byte(r.body), &asked); err != nil {
			t.Error(err)
		}
		open := asked.RequestItems["config"].Keys
		kept := (len(open) + 1) / 2
		if first.Swap(false) {
			kept = 0
		}
		return fault{answer: func(answer []byte) []byte {
			var full struct{ Responses map[string][]jsontext.Value }
			if err := json.Unmarshal(answer, &full); err != nil {
				t.Error(err)
			}
			wanted := make(map[string]bool) // the keys that are answered
			for _, k := range open[:kept] {
				wanted[sortKey(t, k)] = true
			}
			items := []jsontext.Value{}
			for _, item := range full.Responses["config"] {
				if wanted[sortKey(t, item)] {
					items = append(items, item)
				}
			}
			out := map[string]any{"Responses": map[string]any{"config": items}}
			if kept < len(open) {
				out["UnprocessedKeys"] = map[string]any{"config": map[string]any{"Keys": open[kept:], "ConsistentRead": true}}
			}
			text, err := json.Marshal(out)
			if err != nil {
				t.Error(err)
			}
			return text
		}}
	})
	items, err := reader(t, settings(p.endpoint, "config", "")).Get(t.Context(), "acme", keys)
	if err != nil || len(items) != len(keys) {
		t.Errorf("%d items of %d, %v", len(items), len(keys), err)
	}
}

func sortKey(t *testing.T, item jsontext.Value) string {
	var keys struct {
		Key struct{ S string } `json:"key"`
	}
	if err := json.Unmarshal(item, &keys); err != nil {
		t.Error(err)
	}
	return keys.Key.S
}
