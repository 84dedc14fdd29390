package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/client/clienttest"
)

func TestValue_InvalidKeepsTheLastOne(t *testing.T) {
	s := clienttest.Start(t)
	c := open(t, s.Config("acme"))
	raw := func(v string) { set(t, c, "a/v", json.RawMessage(v)) }
	raw("1")
	n := client.Bind(c, "a/v", 7)
	for _, step := range []struct {
		value string
		want  int
		fails bool
	}{
		{"2", 2, false},
		{`"three"`, 2, true},
		{"4.5", 2, true},
		{"null", 2, true},
		{"1e999", 2, true},
		{"9007199254740993", 9007199254740993, false},
		{"9223372036854775808", 9007199254740993, true},
		{"", 7, false}, // deleted
		{"[]", 7, true},
		{"5", 5, false},
	} {
		if step.value == "" {
			if _, err := c.Ledger().Commit(t.Context(), client.ChangeSet{Delete: []string{"a/v"}}); err != nil {
				t.Fatal(err)
			}
		} else {
			raw(step.value)
		}
		if got, err := n.Get(), n.Err(); got != step.want || (err != nil) != step.fails {
			t.Errorf("%q: the value is %d, and the error %v", step.value, got, err)
		}
	}
}

func TestValue_NumbersAreExact(t *testing.T) {
	s := clienttest.Start(t)
	c := open(t, s.Config("acme"))
	const text = `{"a":9007199254740993,"b":[0.1,1.0],"c":"<&>"}`
	set(t, c, "a/v", json.RawMessage(text))
	if e, _ := c.Get("a/v"); e.Value != text {
		t.Errorf("the entry is %s", e.Value)
	}
	v := client.Bind(c, "a/v", map[string]any(nil))
	if got := fmt.Sprint(v.Get()); got != "map[a:9007199254740993 b:[0.1 1.0] c:<&>]" {
		t.Errorf("the value is %s", got)
	}
	again, err := json.Marshal(v.Get()["a"])
	if err != nil || string(again) != "9007199254740993" {
		t.Errorf("it is written as %s, %v", again, err)
	}
}

// boundTo is what becomes of a value that is bound to a T.
func boundTo[T any](c *client.Client) func() (any, error) {
	v := client.Bind(c, "a/v", *new(T))
	return func() (any, error) { return v.Get(), v.Err() }
}

func TestBind_NumberThatIsNotExactIsAnError(t *testing.T) {
	type celsius float64
	type inner struct{ X float64 }
	type pool struct {
		inner
		Max  float64 `json:"max"`
		List []float32
		By   map[string]*float64
		Any  any
		Skip float64 `json:"-"`
	}
	s := clienttest.Start(t)
	c := open(t, s.Config("acme"))
	set(t, c, "a/v", json.RawMessage("0"))
	f64, f32, named, object, whole := boundTo[float64](c), boundTo[float32](c), boundTo[celsius](c), boundTo[pool](c), boundTo[int64](c)
	for _, tc := range []struct {
		value string
		bound func() (any, error)
		want  string // empty: an error
	}{
		{"9007199254740993", f64, ""},
		{"9007199254740992", f64, "9.007199254740992e+15"},
		{"9007199254740993", whole, "9007199254740993"},
		{"9007199254740993", named, ""},
		{"1e-400", f64, ""},
		{"-1e-400", f64, ""},
		{"1e-50", f32, ""},
		{"1e400", f64, ""},
		{"0e-999999", f64, "0"},
		{"0.1", f64, "0.1"},
		{"-0.0", f64, "-0"}, // not after 0, which it is equal to
		{"0.30000000000000004", f64, "0.30000000000000004"},
		{"0.3000000000000000041", f64, ""},
		{"1.50", f64, "1.5"},
		{"1E+23", f64, "1e+23"},
		{"100000000000000000000000", f64, "1e+23"},
		{"16777217", f32, ""},
		{"16777216", f32, "1.6777216e+07"},
		{"0.1", f32, "0.1"},
		{`{"max":9007199254740993}`, object, ""},
		{`{"MAX":9007199254740993}`, object, ""},
		{`{"x":9007199254740993}`, object, ""},
		{`{"list":[1,16777217]}`, object, ""},
		{`{"by":{"a":9007199254740993}}`, object, ""},
		{`{"any":9007199254740993,"skip":9007199254740993,"other":9007199254740993}`, object, "{{0} 0 [] map[] 9007199254740993 0}"},
		{`{"max":0.5,"list":[0.1],"X":2}`, object, "{{2} 0.5 [0.1] map[] <nil> 0}"},
	} {
		set(t, c, "a/v", json.RawMessage(tc.value))
		got, err := tc.bound()
		if (err != nil) != (tc.want == "") || err == nil && fmt.Sprint(got) != tc.want {
			t.Errorf("%s as a %T: %v, %v; want %q", tc.value, got, got, err, tc.want)
		}
	}
}

func TestCommit_RefusesTextThatIsNotUTF8(t *testing.T) {
	s := clienttest.Start(t)
	c := open(t, s.Config("acme"))
	type named struct{ Name string }
	for name, cs := range map[string]client.ChangeSet{
		"a string":     {Set: map[string]any{"a/v": "\xff"}},
		"in a list":    {Set: map[string]any{"a/v": []any{1, "\xff"}}},
		"a map's name": {Set: map[string]any{"a/v": map[string]int{"\xff": 1}}},
		"a struct":     {Set: map[string]any{"a/v": &named{"\xff"}}},
		"raw JSON":     {Set: map[string]any{"a/v": json.RawMessage("\"\xff\"")}},
		"a key":        {Set: map[string]any{"a/\xff": 1}},
		"a deletion":   {Delete: []string{"a/\xff"}},
		"a message":    {Set: map[string]any{"a/v": 1}, Message: "\xff"},
	} {
		if _, err := c.Ledger().Commit(t.Context(), cs); err == nil || !strings.Contains(err.Error(), "not valid UTF-8") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, v := range []any{"\ufffd", json.RawMessage(`"\ufffd"`), []byte{0xff}, nil} {
		if _, err := c.Ledger().Set(t.Context(), "a/v", v, ""); err != nil {
			t.Errorf("%q: %v", v, err)
		}
	}
}

func TestBind_KeyOutsideOfThePrefixes(t *testing.T) {
	s := clienttest.Start(t)
	c := open(t, s.Config("acme", "a/"))
	defer func() {
		if recover() == nil {
			t.Error("it was bound")
		}
	}()
	client.Bind(c, "b/c", 0)
}

// No reader sees half of a commit, nor goes back, however fast commits come.
func TestSnapshot_CommitIsWhole(t *testing.T) {
	t.Parallel()
	s := clienttest.Start(t)
	w := open(t, s.Config("acme", "none/"))
	c := open(t, s.Config("acme"))
	const keys = 20
	var values []*client.Value[int]
	for i := range keys {
		values = append(values, client.Bind(c, fmt.Sprintf("a/k%d", i), 0))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			var last uint64
			for ; ctx.Err() == nil; runtime.Gosched() {
				snap := c.Snapshot()
				if snap.Revision() < last {
					t.Errorf("it went back from %d to %d", last, snap.Revision())
				}
				last = snap.Revision()
				want := values[0].In(snap)
				for i, v := range values {
					e, _ := snap.Get(v.Key())
					if got := v.In(snap); got != want || want > 0 && e.Value != fmt.Sprint(want) {
						t.Errorf("at %d, key %d is %d and %s, and key 0 is %d", last, i, got, e.Value, want)
						return
					}
				}
				// Later reads are not older.
				if first, second := values[0].Get(), values[keys-1].Get(); second < first {
					t.Errorf("the first key is %d, and the last one, read after it, %d", first, second)
				}
			}
		})
	}
	for n := range 100 {
		changes := make(map[string]any)
		for i := range keys {
			changes[fmt.Sprintf("a/k%d", i)] = n + 1
		}
		if _, err := w.Ledger().Commit(t.Context(), client.ChangeSet{Set: changes}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the last commit is there", func() bool { return values[0].Get() == 100 })
	cancel()
	readers.Wait()
}

// A slow function gets the outcome, and delays no other.
func TestOnChange_SlowFunctionGetsTheNewestState(t *testing.T) {
	s := clienttest.Start(t)
	c := open(t, s.Config("acme"))
	release, updates := make(chan struct{}), make(chan client.Update, 100)
	stop := c.OnChange("a/", func(u client.Update) {
		<-release
		updates <- u
	})
	n := client.Bind(c, "a/n", 0)
	heard := make(chan int, 100)
	n.OnChange(func(v int) { heard <- v })
	for i := range 20 {
		if set(t, c, "a/n", i+1); n.Get() != i+1 {
			t.Fatalf("a function that hangs keeps readers from commit %d", i+1)
		}
		set(t, c, "b/other", i)
	}
	set(t, c, "a/n", "not a number")
	close(release)
	var last client.Update
	count := 0
	for count == 0 || last.After.Revision() < 41 {
		select {
		case u := <-updates:
			if count > 0 && u.Before.Revision() < last.After.Revision() {
				t.Errorf("from %d to %d comes after %d", u.Before.Revision(), u.After.Revision(), last.After.Revision())
			}
			if fmt.Sprint(u.Keys) != "[a/n]" {
				t.Errorf("OnChange was called with %v", u.Keys)
			}
			last, count = u, count+1
		case <-time.After(30 * time.Second):
			t.Fatal("OnChange is not called")
		}
	}
	if count > 3 {
		t.Errorf("it was called %d times", count)
	}
	if got := <-heard; got != 1 {
		t.Errorf("the value's function heard %d", got)
	}
	stop()
	set(t, c, "a/n", 99)
	if got := <-heard; got != 99 {
		t.Errorf("the value's function heard %d, and not 99", got)
	}
	if len(updates) > 0 {
		t.Error("it was called after it was stopped")
	}
}
