package stele

import (
	"encoding/json"
	"testing"

	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/client/clienttest"
)

// A restored ledger can have another flag at the revision of the one that was parsed.
func TestFlag_ValueOfARestoredLedger(t *testing.T) {
	c, err := client.Open(t.Context(), clienttest.Start(t).Config("acme", "flags/"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const value = `{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on"}`
	if _, err := c.Ledger().Set(t.Context(), "flags/checkout", json.RawMessage(value), ""); err != nil {
		t.Fatal(err)
	}
	p := NewProvider(c, Config{})
	e, _ := c.Get("flags/checkout")
	before := e
	before.Value = `{"state":"ENABLED","variants":{"off":false},"defaultVariant":"off"}`
	p.flags.Store("checkout", parse(before))
	if f, ok := p.flag("checkout"); !ok || f.fallback != "on" {
		t.Errorf("it is %+v", f)
	}
	if known, _ := p.flags.Load("checkout"); known.(*flag).value != e.Value {
		t.Error("the flag is parsed again at each evaluation")
	}
}
