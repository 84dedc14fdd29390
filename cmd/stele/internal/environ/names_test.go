package environ

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stelehq/stele/ledger"
)

func TestSettingsBecomeVariables(t *testing.T) {
	got, err := Variables("tenantconfig/checkout", map[ledger.Key]ledger.Value{
		"tenantconfig/checkout/timeout_ms":  "3000.0",
		"tenantconfig/checkout/db/host.eu":  `"a \"b\"\n\u00fc"`,
		"tenantconfig/checkout/2fa-enabled": "true",
		"tenantconfig/checkout/hosts":       `["a","b"]`,
		"tenantconfig/checkout/none":        "null",
	})
	want := []string{
		"_2FA_ENABLED=true",
		"DB_HOST_EU=a \"b\"\nü",
		`HOSTS=["a","b"]`,
		"NONE=null",
		"TIMEOUT_MS=3000.0",
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if got, err := Variables("", map[ledger.Key]ledger.Value{"a/b": "1"}); err != nil || got[0] != "A_B=1" {
		t.Errorf("without a prefix: %q, %v", got, err)
	}
}

func TestTwoKeysOfOneNameAreRefusedByName(t *testing.T) {
	_, err := Variables("p", map[ledger.Key]ledger.Value{"p/a.b": "1", "p/a-b": "2"})
	if err == nil || !strings.Contains(err.Error(), "p/a-b and p/a.b would both be A_B") {
		t.Errorf("error is %v", err)
	}
	_, err = Variables("p", map[ledger.Key]ledger.Value{"p/a": `"x\u0000"`})
	if err == nil || !strings.Contains(err.Error(), "p/a holds a zero byte") {
		t.Errorf("error is %v", err)
	}
}
