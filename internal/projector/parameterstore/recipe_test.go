package parameterstore_test

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/replica"
	"github.com/stelehq/stele/internal/ledger/routes"
	secrets "github.com/stelehq/stele/internal/ledger/secret"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/fakeaws"
	"github.com/stelehq/stele/internal/projector/parameterstore"
	sinkstatev1 "github.com/stelehq/stele/internal/projector/sinkstate/v1"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// recipe is the routes of docs/aws-sample.md, without the sink that is not tested here,
// for a stand-in of AWS.
func recipe(t *testing.T, aws *fakeaws.Server) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/aws-sample.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "<<'JSON'")
	document, _, ends := strings.Cut(after, "JSON\n")
	if !found || !ends {
		t.Fatal("docs/aws-sample.md has no routes")
	}
	var d struct {
		Sinks  map[string]map[string]any `json:"sinks"`
		Routes []map[string]any          `json:"routes"`
	}
	if err := json.Unmarshal([]byte(document), &d); err != nil {
		t.Fatal(err)
	}
	delete(d.Sinks, "dynamodb")
	d.Routes = slices.DeleteFunc(d.Routes, func(r map[string]any) bool { return slices.Contains(r["sinks"].([]any), any("dynamodb")) })
	params := d.Sinks["parameterstore"]
	params["endpoint"], params["region"], params["rate"], params["reads"] = aws.URL, fakeaws.Region, 1000, 10000
	out, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// The migration from the AWS sample, as docs/aws-sample.md describes it: existing items
// are adopted, no secret reaches the journal in plain text, and every parameter stays
// unchanged.
func TestRecipe_SwitchOverFromTheSample(t *testing.T) {
	aws := start(t)
	const base = "/config-service/acme-corp/dev/"
	for name, secure := range map[string]bool{"payment-service/timeout": false, "payment-service/api-key": true, "order-service/token": true} {
		err := aws.Parameters.Edit(base+name, func(v *fakeaws.Version) {
			if v.Value = "canary " + name; secure {
				v.Type, v.KeyID = fakeaws.SecureString, "alias/theirs"
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	n := ledgertest.Start(t, ledgertest.Server(t), ledgertest.Config{})
	source := routes.NewSource(n.Replica, nil, slog.New(slog.DiscardHandler))
	key, err := secrets.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	kek, err := secrets.ParseKEK(key)
	if err != nil {
		t.Fatal(err)
	}
	ring := secrets.New(secrets.Config{KEK: kek, Replica: n.Replica, Routes: source, Keys: func() (secrets.Keys, error) {
		return n.Journal.OpenBucket(context.Background(), journal.Keys)
	}})
	l := ledger.New(ledger.Config{Journal: n.Journal, Replica: n.Replica, Seal: ring.Seal, SealedFrom: ring.SealedFrom})
	t.Cleanup(l.Close)
	set := func(tenant ledger.Tenant, key ledger.Key, v string) {
		t.Helper()
		if _, err := l.Commit(t.Context(), tenant, ledger.ChangeSet{Changes: []ledger.Change{{Key: key, Value: ledger.Value(v)}}}); err != nil {
			t.Fatal(err)
		}
	}
	set(ledger.System, routes.Key, recipe(t, aws))
	set("acme-corp", "imported/from", `"aws-sample"`)
	p, err := projector.Start(t.Context(), projector.Config{
		Replica: n.Replica, Journal: n.Journal, Conn: n.Conn, Ledger: l, Routes: source, Secrets: ring, Alone: true,
		Destinations: projector.Destinations{Endpoints: []string{aws.URL}, Secrets: []string{"parameterstore"}},
		Kinds:        map[string]projector.Kind{"parameterstore": parameterstore.Open},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)

	control := &projector.Control{Conn: n.Conn, Journal: n.Journal, Replica: n.Replica}
	check := func() *stelev1.CheckDriftResponse {
		t.Helper()
		order := &sinkstatev1.Order{Order: &sinkstatev1.Order_Check{Check: &stelev1.CheckDriftRequest{}}}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			reply, err := control.Ask(t.Context(), "parameterstore", order)
			if err == nil && reply.Error == "" {
				return reply.Check
			}
			if time.Now().After(deadline) {
				t.Fatalf("compare the sink: %v %v", reply, err)
			}
		}
	}
	check()
	for deadline := time.Now().Add(time.Minute); puts(aws, base+"payment-service/api-key") == 0 || puts(aws, base+"payment-service/timeout") == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was adopted is not marked as the ledger's")
		}
	}
	v, err := n.Replica.View("acme-corp", replica.At{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for key, want := range map[ledger.Key]string{"param_config_payment-service/timeout": "plain", "param_config_payment-service/api-key": "sealed", "param_config_order-service/token": "absent"} {
		e, ok, err := v.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		is := "plain"
		switch {
		case !ok:
			is = "absent"
		case secrets.Sealed(e.Value) && !strings.Contains(string(e.Value), "canary"):
			is = "sealed"
		}
		if is != want {
			t.Errorf("%s is %s in the journal, want %s", key, is, want)
		}
	}
	for _, name := range []string{"payment-service/timeout", "payment-service/api-key", "order-service/token"} {
		p, _ := aws.Parameters.Get(base + name)
		secure := name != "payment-service/timeout"
		if p.Value != "canary "+name || secure != (p.Type == fakeaws.SecureString) || secure && p.KeyID != "alias/theirs" {
			t.Errorf("%s has become %+v", name, p)
		}
	}
	if found := check().Drift; len(found) != 1 || found[0].Name != base+"order-service/token" || !strings.Contains(found[0].Failure, "journal in clear") {
		t.Errorf("left are %v", found)
	}
}
