package projector_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/secret"
	"github.com/stelehq/stele/internal/projector"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const secretRoutes = `{"sinks":{"store":{},"bus":{}},"routes":[
	{"prefix":"kept/","sinks":["store","bus"],"secret":true,"secure":true,"values":true,"drift":"repair"},
	{"prefix":"sent/","sinks":["store","bus"],"secret":true,"values":true},
	{"prefix":"open/","sinks":["store","bus"],"secure":true,"values":true}]}`

// withSecrets has the world's ledger encrypt, and its projectors open.
func (w *world) withSecrets() *secret.Keyring {
	w.t.Helper()
	text, err := secret.GenerateKEK()
	if err != nil {
		w.t.Fatal(err)
	}
	kek, err := secret.ParseKEK(text)
	if err != nil {
		w.t.Fatal(err)
	}
	ring := secret.New(secret.Config{KEK: kek, Replica: w.node.Replica, Routes: w.routes, Keys: func() (secret.Keys, error) {
		return w.node.Journal.OpenBucket(context.Background(), journal.Keys)
	}})
	w.node.Ledger.Close()
	w.node.Ledger = ledger.New(ledger.Config{Journal: w.node.Journal, Replica: w.node.Replica, Seal: ring.Seal, SealedFrom: ring.SealedFrom})
	w.secrets = ring
	w.destinations.Secrets = []string{"store"}
	return ring
}

func (s *store) values() map[string]ledger.Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]ledger.Value)
	for n, item := range s.items {
		out[n] = item.Value
	}
	return out
}

// A secret goes in the clear to a store that keeps it one, by a route that says so,
// and to nothing else.
func TestSecrets_InSinks(t *testing.T) {
	const canary = `"canary-1c2d"`
	secrets := map[ledger.Key]string{"kept/a": canary, "sent/a": canary, "open/a": `"shown"`}
	for _, keeps := range []bool{true, false} {
		w := newWorld(t, secretRoutes)
		ring := w.withSecrets()
		w.store.keeps = keeps
		w.start(w.node, true)
		w.commit("acme", secrets)
		want := map[string]ledger.Value{"acme:kept/a": secret.Mask, "acme:sent/a": secret.Mask, "acme:open/a": `"shown"`}
		if keeps {
			want["acme:kept/a"] = canary
		}
		until(t, func() bool { return maps.Equal(w.store.values(), want) }, func() string { return "the store" })
		w.settled("store")
		until(t, func() bool { return len(w.bus.got()) == 3 }, func() string { return "the bus" })
		for _, e := range w.bus.got() {
			if (e.Value == secret.Mask) != (e.Key != "open/a") {
				t.Errorf("an event shows %s of %s", e.Value, e.Key)
			}
		}
		check := func() []*stelev1.Drift {
			return w.ask("store", &sinkstatev1.Order{Tenant: "acme", Order: &sinkstatev1.Order_Check{Check: &stelev1.CheckDriftRequest{}}}).Check.Drift
		}
		if d := check(); len(d) != 0 {
			t.Errorf("what was written has drifted: %v", d)
		}
		if !keeps {
			continue
		}
		if _, _, err := ring.Shred(t.Context(), w.node.Ledger, "acme", "olga"); err != nil {
			t.Fatal(err)
		}
		if d := check(); len(d) != 1 || d[0].Key != "kept/a" {
			t.Errorf("after it was shredded, drifted are %v", d)
		}
		want["acme:kept/a"] = ""
		until(t, func() bool { return maps.Equal(w.store.values(), want) }, func() string { return "the end of what was shredded" })
	}
}

// A secret that cannot be opened parks its key, and a sink that quotes one is not
// quoted.
func TestSecrets_Parked(t *testing.T) {
	w := newWorld(t, secretRoutes)
	w.withSecrets()
	w.store.keeps = true
	w.store.refuse = func(wr projector.Write) error {
		if wr.Key == "kept/bad" {
			return projector.Refuse("it does not like %s", wr.Value)
		}
		return nil
	}
	w.commit("acme", map[ledger.Key]string{"kept/bad": `"canary-9f3e"`, "kept/good": `"x"`})
	opens := w.secrets
	w.secrets = broken{opens}
	p := w.start(w.node, true)
	reasons := func() (out []string) {
		for _, l := range w.parked("store", "acme") {
			out = append(out, l.Key+": "+l.Reason)
		}
		slices.Sort(out)
		return out
	}
	until(t, func() bool { return len(reasons()) == 2 }, func() string { return strings.Join(reasons(), "; ") })
	if r := reasons(); !strings.Contains(r[1], "the encrypted value is not what the ledger has written") {
		t.Errorf("parked are %v", r)
	}
	p.Close()
	w.secrets = opens
	w.start(w.node, true)
	w.ask("store", &sinkstatev1.Order{Order: &sinkstatev1.Order_Retry{Retry: &stelev1.RetryRequest{}}})
	until(t, func() bool {
		r := reasons()
		return len(r) == 1 && strings.Contains(r[0], "kept/bad: the sink's error message repeats the secret")
	}, func() string {
		return strings.Join(reasons(), "; ")
	})
	if v := w.store.values()["acme:kept/good"]; v != `"x"` {
		t.Errorf("kept/good is %s", v)
	}
}

// broken is a keyring with altered values.
type broken struct{ projector.Secrets }

func (b broken) Reveal(ctx context.Context, t ledger.Tenant, key ledger.Key, v ledger.Value) (ledger.Value, error) {
	_, err := b.Secrets.Reveal(ctx, t, key, v+"x")
	if !errors.Is(err, secret.ErrAltered) {
		return "", errors.New("an altered value is opened")
	}
	return "", err
}
