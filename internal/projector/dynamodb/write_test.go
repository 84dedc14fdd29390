package dynamodb_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/dynamotest"
	"pgregory.net/rapid"
)

// attributes are an item as DynamoDB has it.
type attributes = map[string]types.AttributeValue

var committed = time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)

func write(rev ledger.Revision, k ledger.Key, v ledger.Value) projector.Write {
	return projector.Write{Tenant: "acme", Key: k, Value: v, Revision: rev, Commit: ledger.CommitID{byte(rev)}, Author: "alice", Time: committed}
}

// must writes what may not fail.
func must(t testing.TB, store projector.Store, writes ...projector.Write) {
	t.Helper()
	errs, err := store.Write(t.Context(), writes)
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Fatal(err)
	}
}

// hand edits the items of acme in a table with the usual layout, as a user would.
type hand struct {
	*sdk.Client
	table string
}

func (h hand) item(t testing.TB, key string) attributes {
	t.Helper()
	out, err := h.GetItem(t.Context(), &sdk.GetItemInput{TableName: &h.table, ConsistentRead: aws.Bool(true), Key: attributes{"tenant": s("acme"), "key": s(key)}})
	if err != nil {
		t.Fatal(err)
	}
	return out.Item
}

// edit sets an attribute, or removes it where the value is nil.
func (h hand) edit(t testing.TB, key, attribute string, v types.AttributeValue) {
	t.Helper()
	item := h.item(t, key)
	if item == nil {
		item = attributes{"tenant": s("acme"), "key": s(key)}
	}
	if item[attribute] = v; v == nil {
		delete(item, attribute)
	}
	if _, err := h.PutItem(t.Context(), &sdk.PutItemInput{TableName: &h.table, Item: item}); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, store projector.Store, key ledger.Key) projector.Item {
	t.Helper()
	name, err := store.Name("acme", key)
	if err != nil {
		t.Fatal(err)
	}
	item, ok, err := store.Read(t.Context(), name)
	if err != nil || !ok {
		t.Fatalf("read %s: %v, %v", name, ok, err)
	}
	return item
}

func TestWrite_DocumentedItem(t *testing.T) {
	endpoint := dynamotest.Start(t)
	store := open(t, endpoint, "config", `, "tombstone_ttl": "720h"`)
	h := hand{client(t, endpoint), "config"}
	must(t, store, write(7, "tenantconfig/a", `{"on":true,"n":[1.50,null,"x"],"big":123456789012345678901234567890123456789}`), write(8, "b", ""))
	want := attributes{
		"tenant": s("acme"), "key": s("tenantconfig/a"), "revision": n("7"), "commit": s("07" + strings.Repeat("00", 31)), "author": s("alice"),
		"time": s("2026-01-02T03:04:05.678901234Z"), "epoch": s("0102030405060708"), "deleted": b(false),
		"json": s(`{"on":true,"n":[1.50,null,"x"],"big":123456789012345678901234567890123456789}`),
		"value": object(attributes{"on": b(true), "n": list(n("1.5"), &types.AttributeValueMemberNULL{Value: true}, s("x")),
			"big": s("123456789012345678901234567890123456789")}),
	}
	if got := h.item(t, "tenantconfig/a"); !reflect.DeepEqual(got, want) {
		t.Errorf("the item is %v, want %v", got, want)
	}
	want = attributes{
		"tenant": s("acme"), "key": s("b"), "revision": n("8"), "commit": s("08" + strings.Repeat("00", 31)), "author": s("alice"),
		"time": s("2026-01-02T03:04:05.678901234Z"), "epoch": s("0102030405060708"), "deleted": b(true),
		"expires": n(fmt.Sprint(committed.Add(720 * time.Hour).Unix())),
	}
	if got := h.item(t, "b"); !reflect.DeepEqual(got, want) {
		t.Errorf("the tombstone is %v, want %v", got, want)
	}
	must(t, store, write(9, "b", `1`))
	if got := h.item(t, "b"); got["expires"] != nil {
		t.Errorf("what was set again expires: %v", got)
	}
}

func TestWrite_TooLarge(t *testing.T) {
	endpoint := dynamotest.Start(t)
	store := open(t, endpoint, "config", "")
	h := hand{client(t, endpoint), "config"}
	for _, c := range []struct {
		name  string
		value string
		items map[string]bool // its attributes json and value
	}{
		{"small", `"x"`, map[string]bool{"json": true, "value": true}},
		{"twice is too much", `"` + strings.Repeat("x", 300<<10) + `"`, map[string]bool{"json": true}},
		{"just", `"` + strings.Repeat("x", 400<<10-500) + `"`, map[string]bool{"json": true}},
		{"too deep", strings.Repeat("[", 40) + strings.Repeat("]", 40), map[string]bool{"json": true}},
		{"no name", `{"":1}`, map[string]bool{"json": true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := write(1, ledger.Key(strings.ReplaceAll(c.name, " ", "-")), ledger.Value(c.value))
			must(t, store, w)
			item := h.item(t, string(w.Key))
			for _, a := range []string{"json", "value"} {
				if _, ok := item[a]; ok != c.items[a] {
					t.Errorf("its attribute %s is there: %v", a, ok)
				}
			}
			if found := read(t, store, w.Key); found.Value != w.Value || !store.Same(found, w) {
				t.Errorf("it is %.60s", found.Value)
			}
		})
	}
	errs, err := store.Write(t.Context(), []projector.Write{write(1, "large", ledger.Value(`"`+strings.Repeat("x", 400<<10)+`"`))})
	if refused, ok := errors.AsType[*projector.RefusedError](errors.Join(append(errs, err)...)); !ok || !strings.Contains(refused.Reason, "409600") {
		t.Errorf("too large: %v, %v", errs, err)
	}
	// Attributes of other programs count as well, and only DynamoDB knows them.
	h.edit(t, "small", "theirs", s(strings.Repeat("x", 300<<10)))
	errs, err = store.Write(t.Context(), []projector.Write{write(2, "small", ledger.Value(`"`+strings.Repeat("x", 150<<10)+`"`)), write(2, "b", "1")})
	if refused, ok := errors.AsType[*projector.RefusedError](errs[0]); !ok || errs[1] != nil || err != nil {
		t.Errorf("too large with what others have added: %v, %v, %v", refused, errs, err)
	}
}

// Every attribute that the sink writes is compared with the ledger, and attributes of other
// programs are neither changed nor compared.
func TestDrift_EditOfAnyAttribute(t *testing.T) {
	endpoint := dynamotest.Start(t)
	store := open(t, endpoint, "config", `, "tombstone_ttl": "720h"`)
	h := hand{client(t, endpoint), "config"}
	live, dead := write(5, "a", `{"x":[1,{"y":"z"}]}`), write(6, "b", "")
	for _, w := range []projector.Write{live, dead} {
		must(t, store, w)
		h.edit(t, string(w.Key), "theirs", s("kept"))
		if !store.Same(read(t, store, w.Key), w) {
			t.Errorf("%s counts as drifted because of a foreign attribute", w.Key)
		}
		for name := range h.item(t, string(w.Key)) {
			if name == "tenant" || name == "key" || name == "theirs" {
				continue
			}
			for _, v := range []types.AttributeValue{nil, s("edited"), n("99999999999999"), object(attributes{"x": list(n("1"), object(attributes{"y": s("Z")}))})} {
				h.edit(t, string(w.Key), name, v)
				found := read(t, store, w.Key)
				if store.Same(found, w) {
					t.Errorf("%s is the same with %s set to %v", w.Key, name, v)
				}
				repair := w
				repair.Replace = &found
				must(t, store, repair)
				if found := read(t, store, w.Key); !store.Same(found, w) {
					t.Errorf("%s is not repaired after %s was set to %v: %v", w.Key, name, v, found)
				}
			}
		}
		if got := h.item(t, string(w.Key))["theirs"]; !reflect.DeepEqual(got, s("kept")) {
			t.Errorf("the foreign attribute of %s is %v now", w.Key, got)
		}
	}
}

// An item that says of no revision, or not as a number, is not newer.
func TestWrite_OverwritesItemWithoutRevision(t *testing.T) {
	endpoint := dynamotest.Start(t)
	store := open(t, endpoint, "config", "")
	h := hand{client(t, endpoint), "config"}
	for _, revision := range []types.AttributeValue{nil, s("99")} {
		must(t, store, write(5, "a", "1"))
		h.edit(t, "a", "revision", revision)
		w := write(6, "a", "2")
		must(t, store, w)
		if found := read(t, store, "a"); !store.Same(found, w) {
			t.Errorf("with the revision %v: %v", revision, found)
		}
	}
}

// The replaced item is the one that was seen, whatever revision it claims. An edit
// after that stays, until it is seen itself or a newer write comes.
func TestReplace_DetectsLaterChanges(t *testing.T) {
	endpoint := dynamotest.Start(t)
	store := open(t, endpoint, "config", "")
	h := hand{client(t, endpoint), "config"}
	w := write(5, "a", `{"x":1}`)
	var seen projector.Item
	for _, claim := range []types.AttributeValue{n("5"), n("99"), s("no number"), nil} {
		must(t, store, w)
		h.edit(t, "a", "revision", claim)
		h.edit(t, "a", "theirs", s("x"))
		h.edit(t, "a", "value", object(attributes{"x": n("2")}))
		seen = read(t, store, "a")
		h.edit(t, "a", "value", object(attributes{"x": n("3")}))
		unseen := w
		unseen.Replace = &seen
		must(t, store, unseen)
		if got := h.item(t, "a")["value"]; !reflect.DeepEqual(got, object(attributes{"x": n("3")})) {
			t.Errorf("an edit of revision %v that was not seen is replaced: %v", claim, got)
		}
		now := read(t, store, "a")
		unseen.Replace = &now
		must(t, store, unseen)
		if found := read(t, store, "a"); !store.Same(found, w) {
			t.Errorf("an edit of revision %v that was seen is not replaced: %v", claim, found)
		}
	}
	h.edit(t, "a", "value", object(attributes{"x": n("3")}))
	newer := write(6, "a", "1")
	newer.Replace = &seen
	must(t, store, newer)
	if found := read(t, store, "a"); !store.Same(found, newer) {
		t.Errorf("a newer write does not take effect because of an edit: %v", found)
	}
	older := w
	older.Replace = &seen
	must(t, store, older)
	if found := read(t, store, "a"); !store.Same(found, newer) {
		t.Errorf("an older write replaces a newer one: %v", found)
	}
	if err := store.Remove(t.Context(), seen); err != nil || h.item(t, "a") == nil {
		t.Errorf("an edit that was not seen is removed: %v", err)
	}
	seen = read(t, store, "a")
	must(t, store, write(7, "a", "2"))
	if err := store.Remove(t.Context(), seen); err != nil || h.item(t, "a") == nil {
		t.Errorf("removed as it is not any more: %v", err)
	}
}

func TestWrite_Failures(t *testing.T) {
	endpoint := dynamotest.Start(t)
	p := between(t, endpoint)
	store := open(t, p.endpoint, "config", "")
	writes := []projector.Write{write(1, "a", "1"), write(1, "b", `{"c":[1]}`), write(1, "c", "")}
	first := func(f fault) func(request) fault { // only what is sent for the first time
		seen := make(chan map[string]bool, 1)
		seen <- map[string]bool{}
		return func(r request) fault {
			m := <-seen
			defer func() { seen <- m }()
			if m[r.body] {
				return fault{}
			}
			m[r.body] = true
			return f
		}
	}
	some := func(f fault) func(request) fault {
		return func(r request) fault {
			if strings.Contains(r.body, `"key":{"S":"b"}`) {
				return f
			}
			return fault{}
		}
	}
	all := func(f fault) func(request) fault { return func(request) fault { return f } }
	fails := func(code string, status int) fault {
		return fault{code: "com.amazonaws.dynamodb.v20120810#" + code, status: status}
	}
	const fine, one, call = "nothing fails", "one write fails", "the call fails"
	for name, c := range map[string]struct {
		fault func(request) fault
		want  string
	}{
		"throttled once":          {first(throttle()), fine},
		"one key throttled":       {some(throttle()), one},
		"all throttled":           {all(throttle()), call},
		"ThrottlingException":     {all(fails("ThrottlingException", 400)), call},
		"RequestLimitExceeded":    {all(fails("RequestLimitExceeded", 400)), call},
		"answers lost once":       {first(fault{lost: true}), fine},
		"answers of one key lost": {some(fault{lost: true}), one},
		"all answers lost":        {all(fault{lost: true}), call},
		"500 for one":             {some(fails("InternalServerError", 500)), one},
		"503 for all":             {all(fails("ServiceUnavailable", 503)), call},
		"no table":                {all(fails("ResourceNotFoundException", 400)), call},
		"credentials expired":     {all(fails("ExpiredTokenException", 400)), call},
		"one tenant denied":       {all(fails("AccessDeniedException", 400)), "each write fails"},
	} {
		t.Run(name, func(t *testing.T) {
			p.set(c.fault)
			errs, err := store.Write(t.Context(), writes)
			p.set(nil)
			got := call
			if err == nil {
				failed := 0
				for i, err := range errs {
					if _, refused := errors.AsType[*projector.RefusedError](err); refused {
						t.Errorf("%s is refused: %v", writes[i].Key, err)
					}
					if err != nil {
						failed++
					}
				}
				got = map[int]string{0: fine, 1: one, 3: "each write fails"}[failed]
			}
			if got != c.want {
				t.Errorf("%s, want that %s: %v, %v", got, c.want, errs, err)
			}
			if name == "no table" && !strings.Contains(err.Error(), `"create": true`) {
				t.Errorf("it does not say what to do: %v", err)
			}
			must(t, store, writes...)
			for _, w := range writes {
				if !store.Same(read(t, store, w.Key), w) {
					t.Errorf("%s is not what was written", w.Key)
				}
			}
		})
	}
}

func TestWrite_AfterTheDeadline(t *testing.T) {
	p := between(t, dynamotest.Start(t))
	store := open(t, p.endpoint, "config", "")
	must(t, store, write(1, "a", "1"))
	ctx, cancel := context.WithCancel(t.Context())
	p.set(func(request) fault { cancel(); return throttle() })
	if _, err := store.Write(ctx, []projector.Write{write(2, "a", "2")}); !errors.Is(err, context.Canceled) {
		t.Errorf("the call that was cut off: %v", err)
	}
	sent := p.requests.Load()
	if _, err := store.Write(ctx, []projector.Write{write(2, "a", "2"), write(2, "b", "2")}); !errors.Is(err, context.Canceled) {
		t.Errorf("the call after that: %v", err)
	}
	if now := p.requests.Load(); now != sent {
		t.Errorf("%d requests were sent", now-sent)
	}
}

// G12: whatever is written again, out of order, or interrupted, the table ends equal to
// the ledger, and no item ever goes back.
func TestWrite_NewestRevisionStays(t *testing.T) {
	p := between(t, dynamotest.Start(t))
	checks := 0
	rapid.Check(t, func(rt *rapid.T) {
		checks++
		tenant := ledger.Tenant(fmt.Sprint("t", checks))
		p.set(nil)
		store := open(t, p.endpoint, "config", "")
		newest := make(map[ledger.Key]projector.Write)
		var history []projector.Write
		for i := range rapid.IntRange(1, 12).Draw(rt, "revisions") {
			w := write(ledger.Revision(i+1), rapid.SampledFrom([]ledger.Key{"a", "b/c", "d"}).Draw(rt, "key"), ledger.Value(fmt.Sprint(i)))
			if w.Tenant = tenant; rapid.Bool().Draw(rt, "delete") {
				w.Value = ""
			}
			history, newest[w.Key] = append(history, w), w
		}
		highest := make(map[ledger.Key]ledger.Revision)
		see := func() {
			err := store.Scan(t.Context(), tenant, func(i projector.Item) error {
				if i.Revision < highest[i.Key] {
					rt.Fatalf("%s was %s and is %s", i.Key, highest[i.Key], i.Revision)
				}
				highest[i.Key] = i.Revision
				return nil
			})
			if err != nil {
				rt.Fatal(err)
			}
		}
		for range rapid.IntRange(0, 8).Draw(rt, "calls") {
			byKey := make(map[ledger.Key]projector.Write)
			for _, w := range rapid.SliceOfN(rapid.SampledFrom(history), 1, 5).Draw(rt, "call") {
				byKey[w.Key] = w // each has another key
			}
			var call []projector.Write
			for _, w := range byKey {
				call = append(call, w)
			}
			ctx, crash := context.WithCancel(t.Context())
			dies, lost := p.requests.Load()+int64(rapid.IntRange(1, 6).Draw(rt, "dies at")), rapid.Bool().Draw(rt, "dies after")
			p.set(func(r request) fault {
				switch {
				case r.n == dies && lost:
					return fault{after: crash}
				case r.n == dies:
					return fault{before: crash, code: "crash", status: http.StatusBadRequest}
				}
				return fault{}
			})
			store.Write(ctx, call)
			crash()
			p.set(nil)
			see()
		}
		for _, w := range newest {
			must(t, store, w)
		}
		see()
		for k, w := range newest {
			name, _ := store.Name(tenant, k)
			if item, ok, err := store.Read(t.Context(), name); err != nil || !ok || !store.Same(item, w) {
				rt.Fatalf("%s is %s %q, %v, want %s %q", k, item.Revision, item.Value, err, w.Revision, w.Value)
			}
		}
	})
}
