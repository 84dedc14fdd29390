package etcd

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/cmd/stele/internal/migrate/etcd/etcdtest"
	"github.com/stelehq/stele/internal/porttest"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func steps(t *testing.T, s *Source) (listed []string) {
	t.Helper()
	for step, err := range s.Steps(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		line := step.ID + ":"
		if step.ID != fmt.Sprintf("revision %d", step.Number) || !step.Time.IsZero() || step.Author != "" {
			t.Errorf("a step is %+v", step)
		}
		if step.State {
			line = "state at " + line
		}
		for _, i := range step.Items {
			if i.Delete {
				line += " -" + i.Name
			} else {
				line += fmt.Sprintf(" %s=%s", i.Name, i.Value)
			}
		}
		listed = append(listed, line)
	}
	return listed
}

func open(t *testing.T, endpoint, root string) *Source {
	t.Helper()
	s, err := Open(t.Context(), endpoint, root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSteps_RevisionsAndCompaction(t *testing.T) {
	endpoint, client := etcdtest.Start(t)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := steps(t, open(t, endpoint, "/config/")); got != nil {
		t.Errorf("an empty etcd has %q", got)
	}
	must(client.Put(t.Context(), "/config/a", "1")) // revision 2
	must(client.Put(t.Context(), "/other/a", "1"))
	must(client.Txn(t.Context()).Then(clientv3.OpPut("/config/a", "2"), clientv3.OpPut("/config/b", "1"), clientv3.OpPut("/other/a", "2")).Commit())
	must(client.Delete(t.Context(), "/config/b"))
	lease, err := client.Grant(t.Context(), 1)
	must(nil, err)
	must(client.Put(t.Context(), "/config/leased", "1", clientv3.WithLease(lease.ID)))
	must(client.Revoke(t.Context(), lease.ID))
	must(client.Put(t.Context(), "/config/a", "3"))
	must(client.Put(t.Context(), "/zz", "1"))

	all := []string{
		"revision 2: /config/a=1", "revision 4: /config/a=2 /config/b=1", "revision 5: -/config/b", "revision 6: /config/leased=1",
		"revision 7: -/config/leased", "revision 8: /config/a=3",
	}
	s := open(t, endpoint, "/config/")
	if d := cmp.Diff(all, steps(t, s)); d != "" || s.Compacted() != 0 {
		t.Errorf("(-want +got):\n%s", d)
	}
	// Later revisions are left for the next import.
	must(client.Put(t.Context(), "/config/a", "4")) // revision 10
	if d := cmp.Diff(all, steps(t, s)); d != "" {
		t.Errorf("read again (-want +got):\n%s", d)
	}
	if got := steps(t, open(t, endpoint, "")); len(got) != 9 || got[1] != "revision 3: /other/a=1" {
		t.Errorf("without a prefix: %q", got)
	}

	must(client.Compact(t.Context(), 5))
	s = open(t, endpoint, "/config/")
	want := append([]string{"state at revision 5: /config/a=2"}, append(all[3:], "revision 10: /config/a=4")...)
	if d := cmp.Diff(want, steps(t, s)); d != "" || s.Compacted() != 5 {
		t.Errorf("compacted at %d (-want +got):\n%s", s.Compacted(), d)
	}
	must(client.Compact(t.Context(), 10))
	if d := cmp.Diff([]string{"state at revision 10: /config/a=4"}, steps(t, open(t, endpoint, "/config/"))); d != "" {
		t.Errorf("all compacted (-want +got):\n%s", d)
	}
	// A source whose history was compacted under it says so.
	for _, err := range s.Steps(t.Context()) {
		if err != nil {
			if !strings.Contains(err.Error(), "compacted") {
				t.Errorf("it says %v", err)
			}
			return
		}
	}
	t.Error("a history that is gone was read")
}

func TestSteps_ManyKeysInPages(t *testing.T) {
	endpoint, client := etcdtest.Start(t)
	const many = 3*page + 7
	var last int64
	for i := range many {
		resp, err := client.Put(t.Context(), fmt.Sprintf("/config/%04d", i), "1")
		if err != nil {
			t.Fatal(err)
		}
		last = resp.Header.Revision
	}
	if got := steps(t, open(t, endpoint, "/config/")); len(got) != many {
		t.Errorf("%d steps, not %d", len(got), many)
	}
	if _, err := client.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"/config/", ""} {
		got := steps(t, open(t, endpoint, root))
		if len(got) != 1 || strings.Count(got[0], "=1") != many {
			t.Errorf("of %q: %d steps", root, len(got))
		}
	}
}

func TestOpen_UnreachableEtcd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := Open(ctx, porttest.Free(t, 1)[0], ""); err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("it says %v", err)
	}
}
