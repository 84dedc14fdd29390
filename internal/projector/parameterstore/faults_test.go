package parameterstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/internal/projector/parameterstore"
)

func keys(n int, rev ledger.Revision) []projector.Write {
	var out []projector.Write
	for i := range n {
		out = append(out, write(rev, ledger.Key(fmt.Sprintf("k%d", i)), ledger.Value(fmt.Sprintf(`"%d of %d"`, i, rev))))
	}
	return out
}

// Another process adopts what it finds, with two requests for ten keys.
func TestAdoption(t *testing.T) {
	aws := start(t)
	all := keys(10, 1)
	must(t, open(t, aws, ""), all...)
	reads := aws.Calls("GetParameters") + aws.Calls("DescribeParameters")
	second := open(t, aws, "")
	must(t, second, all...)
	if n := aws.Calls("PutParameter"); n != 10 {
		t.Errorf("%d PutParameter were made for ten keys", n)
	}
	if n := aws.Calls("GetParameters") + aws.Calls("DescribeParameters") - reads; n != 2 {
		t.Errorf("%d reads were made for ten keys", n)
	}
	// A known parameter is written without a read.
	must(t, second, keys(10, 2)...)
	if n := aws.Calls("GetParameters"); n != 2 {
		t.Errorf("GetParameters was called %d times", n)
	}
	// A parameter with another revision or content, or a missing one, is written.
	third := open(t, aws, "")
	if err := aws.Parameters.Edit("/stele/acme/k0", func(v *fakeaws.Version) { v.Value = "by hand" }); err != nil {
		t.Fatal(err)
	}
	aws.Parameters.Remove("/stele/acme/k1")
	again := keys(10, 2)
	again[2].Value, again[2].Revision = "", 3
	again[3].Revision = 3
	must(t, third, again...)
	for name, want := range map[string]int{"/stele/acme/k0": 3, "/stele/acme/k1": 3, "/stele/acme/k2": 2, "/stele/acme/k3": 3, "/stele/acme/k4": 2} {
		if n := puts(aws, name); n != want {
			t.Errorf("%s was put %d times, want %d", name, n, want)
		}
	}
	if _, ok := aws.Parameters.Get("/stele/acme/k2"); ok {
		t.Error("a deleted key's parameter is still there")
	}
}

// A replay in the same process makes no versions either, and restores missing
// parameters.
func TestReplay(t *testing.T) {
	aws := start(t)
	s := open(t, aws, "")
	all := append(keys(5, 1), write(2, "k5", ""))
	must(t, s, write(1, "k5", `1`))
	must(t, s, all...)
	aws.Parameters.Remove("/stele/acme/k0")
	puts, deletes := aws.Calls("PutParameter"), aws.Calls("DeleteParameter")
	must(t, s, all...)
	must(t, s, all...)
	if p, d := aws.Calls("PutParameter")-puts, aws.Calls("DeleteParameter")-deletes; p != 1 || d != 0 {
		t.Errorf("a replay made %d PutParameter and %d DeleteParameter", p, d)
	}
	if _, ok := aws.Parameters.Get("/stele/acme/k0"); !ok {
		t.Error("what was missing is not there")
	}
	must(t, s, keys(1, 2)...)
	must(t, s, keys(1, 1)...) // which comes late
	if v, _ := aws.Parameters.Get("/stele/acme/k0"); v.Value != "0 of 2" {
		t.Errorf("the newer became %q", v.Value)
	}
}

// A parameter with a newer revision stays, unless it is to be replaced.
func TestWrite_NewerRevisionStays(t *testing.T) {
	aws := start(t)
	must(t, open(t, aws, ""), write(5, "a", `"new"`))
	old := write(4, "a", `"old"`)
	must(t, open(t, aws, ""), old)
	gone := write(4, "a", "")
	must(t, open(t, aws, ""), gone)
	if v, _ := aws.Parameters.Get("/stele/acme/a"); v.Version != 1 || v.Value != "new" {
		t.Errorf("the newer became %+v", v)
	}
	s := open(t, aws, "")
	item, _, err := s.Read(t.Context(), "/stele/acme/a")
	if err != nil {
		t.Fatal(err)
	}
	old.Replace = &item
	must(t, s, old)
	if v, _ := aws.Parameters.Get("/stele/acme/a"); v.Value != "old" {
		t.Errorf("what shall be replaced is still %q", v.Value)
	}
}

// A crash after a put and before its answer: the next try, of this process or another
// one, finds it done.
func TestWrite_LostAnswers(t *testing.T) {
	aws := start(t)
	for i, again := range []func(projector.Store) projector.Store{
		func(s projector.Store) projector.Store { return s },
		func(projector.Store) projector.Store { return open(t, aws, "") },
	} {
		s := open(t, aws, "")
		name := fmt.Sprintf("k%d", i)
		aws.SetFaults(fakeaws.Faults{Lost: 1, Operations: []string{"PutParameter", "DeleteParameter"}})
		set := write(1, ledger.Key(name), `1`)
		if _, err := s.Write(t.Context(), []projector.Write{set}); err == nil {
			t.Fatal("a lost answer came")
		}
		aws.SetFaults(fakeaws.Faults{})
		s = again(s)
		must(t, s, set)
		if n := puts(aws, "/stele/acme/"+name); n != 1 {
			t.Errorf("%s was put %d times", name, n)
		}
		aws.SetFaults(fakeaws.Faults{Lost: 1, Operations: []string{"PutParameter", "DeleteParameter"}})
		gone := write(2, ledger.Key(name), "")
		if _, err := s.Write(t.Context(), []projector.Write{gone}); err == nil {
			t.Fatal("a lost answer came")
		}
		aws.SetFaults(fakeaws.Faults{})
		deletes := aws.Calls("DeleteParameter")
		must(t, again(s), gone)
		if n := aws.Calls("DeleteParameter"); n != deletes {
			t.Errorf("%s was deleted again", name)
		}
	}
}

// With all faults at once, the final state equals the writes, each parameter's
// revisions never went back, and only lost answers cost a version.
func TestWrite_ManyFaults(t *testing.T) {
	aws := start(t)
	aws.SetFaults(fakeaws.Faults{Throttled: 0.1, Broken: 0.1, Lost: 0.1, Operations: []string{"PutParameter", "DeleteParameter"}})
	s := open(t, aws, "")
	for rev := ledger.Revision(1); rev <= 20; rev++ {
		for _, w := range [][]projector.Write{keys(8, rev), {write(rev, "deleted", `1`)}, {write(rev+1, "deleted", "")}} {
			untilDone(t, s, w)
		}
		if rev%5 == 0 {
			s = open(t, aws, "")
		}
	}
	// The reads are tried again by the SDK.
	aws.SetFaults(fakeaws.Faults{Broken: 0.1, ShortPages: true})
	n := 0
	err := s.Scan(t.Context(), "acme", func(i projector.Item) error {
		n++
		if i.Revision != 20 {
			t.Errorf("%s is of revision %d", i.Name, i.Revision)
		}
		last := ""
		for _, c := range aws.Parameters.Changes(i.Name) {
			if d := fmt.Sprintf("%3s", strings.Split(strings.Split(c.Version.Description, "/")[1], " ")[0]); d < last {
				t.Errorf("%s went from revision %s to %s", i.Name, last, d)
			} else {
				last = d
			}
		}
		return nil
	})
	if err != nil || n != 8 {
		t.Errorf("%d parameters are there: %v", n, err)
	}
}

// untilDone tries again as the engine does.
func untilDone(t *testing.T, s projector.Store, writes []projector.Write) {
	t.Helper()
	for len(writes) > 0 {
		errs, err := s.Write(t.Context(), writes)
		if err != nil {
			if _, refused := errors.AsType[*projector.RefusedError](err); refused {
				t.Fatal(err)
			}
			continue
		}
		var left []projector.Write
		for i, err := range errs {
			if err != nil {
				t.Logf("%s: %v", writes[i].Key, err)
				left = append(left, writes[i])
			}
		}
		writes = left
	}
}

// The service's own errors are the call's; the reads continue by the SDK's own retries.
func TestWrite_ErrorsOfTheCall(t *testing.T) {
	aws := start(t)
	s := open(t, aws, "")
	must(t, s, write(1, "a", `1`))
	for what, f := range map[string]fakeaws.Faults{"throttled": {Throttled: 1}, "broken": {Broken: 1}, "lost": {Lost: 1}} {
		f.Operations = []string{"PutParameter"}
		aws.SetFaults(f)
		calls := aws.Calls("PutParameter")
		if errs, err := s.Write(t.Context(), []projector.Write{write(2, "a", `2`), write(2, "b", `2`)}); err == nil {
			t.Errorf("%s: %v", what, errs)
		}
		if n := aws.Calls("PutParameter") - calls; n != 1 {
			t.Errorf("%s: %d requests were made", what, n)
		}
	}
	aws.SetFaults(fakeaws.Faults{})
	must(t, s, write(2, "a", `2`), write(2, "b", `2`))
}

// No request is sent after the deadline; a rate that does not fit is an error at once.
func TestWrite_Deadline(t *testing.T) {
	aws := start(t)
	cfg := settings(aws, epoch, "")
	cfg.JSON = []byte(strings.Replace(string(cfg.JSON), `"rate": 200`, `"rate": 1`, 1))
	slow, err := parameterstore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if l := slow.Limits(); l.Batch != 3 || l.Parallel != 1 {
		t.Errorf("at one a second the limits are %+v", l)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond)
	defer cancel()
	if errs, err := slow.Write(ctx, keys(3, 1)); err == nil {
		t.Errorf("three writes at one a second within less than one: %v", errs)
	}
	if n := aws.Calls("PutParameter"); n != 1 {
		t.Errorf("%d requests were made", n)
	}
	must(t, slow.(projector.Store), keys(1, 1)...) // it was done
	if n := aws.Calls("PutParameter"); n != 1 {
		t.Errorf("%d requests were made for the same key", n)
	}
	aws.SetFaults(fakeaws.Faults{Delay: time.Minute})
	s := open(t, aws, "")
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Write(ctx, keys(1, 2)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a request that takes a minute: %v", err)
	}
}

// The oldest of 100 versions with a label blocks its own parameter only.
func TestWrite_LabeledVersions(t *testing.T) {
	aws := start(t)
	s := open(t, aws, "")
	must(t, s, write(1, "a", `1`))
	aws.Parameters.Label("/stele/acme/a", 1, "prod")
	for rev := ledger.Revision(2); rev <= 100; rev++ {
		must(t, s, write(rev, "a", ledger.Value(fmt.Sprint(rev))))
	}
	w := write(101, "a", `101`)
	if err := try(t, s, w)[0]; err == nil { // what was known is read again
		t.Fatal("a labeled version gave way")
	}
	errs := try(t, s, write(101, "b", `1`), w)
	if errs[0] != nil || !strings.Contains(refusal(t, errs[1]), "move the label") {
		t.Errorf("behind a label: %v", errs)
	}
	aws.Parameters.Label("/stele/acme/a", 100, "prod")
	must(t, s, w)
}

// A full account refuses new parameters until there is room.
func TestWrite_FullAccount(t *testing.T) {
	aws := start(t)
	aws.SetLimits(fakeaws.Limits{Standard: 1})
	s := open(t, aws, "")
	errs := try(t, s, write(1, "a", `1`), write(1, "b", `1`))
	if errs[0] != nil || errs[1] == nil || !strings.Contains(errs[1].Error(), "exceeded the number of parameters") {
		t.Fatalf("in a full account: %v", errs)
	}
	if _, refused := errors.AsType[*projector.RefusedError](errs[1]); refused {
		t.Error("it is rejected permanently")
	}
	must(t, s, write(2, "a", ""))
	must(t, s, write(1, "b", `1`))
}

// AWS asks for half a minute between a parameter's deletion and its next life.
func TestWrite_Recreation(t *testing.T) {
	aws := start(t)
	cfg := settings(aws, epoch, "")
	cfg.JSON = []byte(strings.Replace(string(cfg.JSON), `, "recreate_after": "0s"`, "", 1))
	sink, err := parameterstore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	s := sink.(projector.Store)
	must(t, s, write(1, "a", `1`), write(1, "b", `1`))
	aws.SetFaults(fakeaws.Faults{Lost: 1, Operations: []string{"DeleteParameter"}})
	if _, err := s.Write(t.Context(), []projector.Write{write(2, "a", "")}); err == nil {
		t.Fatal("a lost answer came")
	}
	errs := try(t, s, write(3, "a", `3`), write(3, "b", `3`))
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "30s to go") || errs[1] != nil {
		t.Errorf("at once after the deletion: %v", errs)
	}
	if _, refused := errors.AsType[*projector.RefusedError](errs[0]); refused {
		t.Error("it is rejected permanently")
	}
	if n := puts(aws, "/stele/acme/a"); n != 1 {
		t.Errorf("it was put %d times", n)
	}
}
