package sinktest

import (
	"errors"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// difficult are values that some store cannot hold.
var difficult = []ledger.Value{
	`""`, `"x"`, `"{{x}}"`, `{"a":"{{x}}"}`, `"}}{{"`, `null`, `1`, `1e400`, `0.12345678901234567890123456789012345678901234567890`, `{"":1}`, `[]`, `[{}]`, `{}`,
	`"\ud800"`,
	ledger.Value(`"` + strings.Repeat("x", 4096) + `"`), ledger.Value(`"` + strings.Repeat("x", 8192) + `"`), ledger.Value(`"` + strings.Repeat("x", 8193) + `"`),
	ledger.Value(`"` + strings.Repeat("x", 200<<10) + `"`), ledger.Value(`"` + strings.Repeat("x", 399<<10) + `"`), ledger.Value(`"` + strings.Repeat("x", 410<<10) + `"`),
	ledger.Value(strings.Repeat("[", 40) + strings.Repeat("]", 40)),
}

// fits checks that a Fit predicts, from the settings alone, the outcome of writes.
func fits(t *testing.T, s *stand) {
	fit, err := s.Fit(epoch)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fit.Secrets, s.store.Limits().Secrets; got != want {
		t.Errorf("secrets: %v, and the limits say %v", got, want)
	}
	var writes []projector.Write
	for _, k := range hostile {
		writes = append(writes, write(0, k, `"x"`), write(0, k, `{"a":1}`))
	}
	for _, v := range difficult {
		if _, err := ledger.ParseValue(string(v)); err == nil {
			writes = append(writes, write(0, "a/value", v), write(0, "tenant_config_value", v), write(0, "tenantconfig/value", v), write(0, "paramconfig/value", v))
		}
	}
	refusals := 0
	for i, w := range writes {
		w.Revision = ledger.Revision(2*i + 1)
		says, does := fit.Refuses(w), s.try(w)[0]
		var refused *projector.RefusedError
		switch {
		case does != nil && !errors.As(does, &refused):
			t.Fatalf("write %s = %.60s: %v", w.Key, w.Value, does)
		case (says == nil) != (does == nil), says != nil && says.Error() != does.Error():
			t.Errorf("%s = %.60s: the fit says %v, and the store %v", w.Key, w.Value, says, does)
		case does != nil:
			refusals++
			continue
		}
		w.Revision, w.Value = w.Revision+1, "" // so that it is in no other key's way
		if err := fit.Refuses(w); err != nil {
			t.Errorf("the deletion of %s: %v", w.Key, err)
		}
		s.must(w)
	}
	if refusals == 0 {
		t.Error("nothing was refused: it cannot have shown anything")
	}
}
