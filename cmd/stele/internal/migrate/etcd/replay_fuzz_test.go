package etcd

import (
	"maps"
	"testing"

	"github.com/stelehq/stele/cmd/stele/internal/migrate"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// FuzzReplay replays what a server may answer to a watch. Whatever that is, the steps are in
// their order and within the history that was asked for, and every change is in one of them.
func FuzzReplay(f *testing.F) {
	seed := func(events ...*mvccpb.Event) {
		b, err := proto.Marshal(&etcdserverpb.WatchResponse{Events: events})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, int64(1), int64(9))
	}
	put := func(key string, revision int64) *mvccpb.Event {
		return &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte(key), Value: []byte("v"), ModRevision: revision}}
	}
	gone := put("b", 4)
	gone.Type = mvccpb.Event_DELETE
	seed(put("a", 2), put("b", 2), put("a", 3), gone)
	seed(put("a", 3), put("a", 2))
	seed(put("a", 1))
	seed(put("a", 8), put("a", 10))
	seed(&mvccpb.Event{})
	f.Fuzz(func(t *testing.T, response []byte, base, end int64) {
		var resp etcdserverpb.WatchResponse
		if proto.Unmarshal(response, &resp) != nil || base < 0 {
			return
		}
		var steps []migrate.Step
		r := &replay{Source: &Source{base: base, end: end}, keys: make(map[string]int64), yield: func(s migrate.Step, err error) bool {
			if err != nil {
				t.Fatal(err)
			}
			steps = append(steps, s)
			return true
		}}
		ended, err := r.events(resp.Events)
		if err == nil {
			err = r.finish()
		}
		if err != nil {
			return
		}
		last, items, keys := uint64(base), 0, make(map[string]int64)
		for _, s := range steps {
			if s.Number <= last || s.Number > uint64(end) || len(s.Items) == 0 {
				t.Errorf("step %d after %d with %d items, up to %d", s.Number, last, len(s.Items), end)
			}
			last = s.Number
			for _, i := range s.Items {
				if keys[i.Name] = int64(s.Number); i.Delete {
					delete(keys, i.Name)
				}
			}
			items += len(s.Items)
		}
		if !ended && items != len(resp.Events) {
			t.Errorf("%d of %d changes are in steps", items, len(resp.Events))
		}
		if !maps.Equal(keys, r.keys) {
			t.Errorf("the steps lead to %v, and %v was kept", keys, r.keys)
		}
	})
}
