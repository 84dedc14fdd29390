package events_test

import (
	"fmt"

	"github.com/stelehq/stele/schemas/events"
)

func ExampleParseConfigurationChanged() {
	detail := `{"tenant":"acme","tag":"tenantconfig","key":"tenantconfig/checkout/timeout_ms","operation":"set",
		"revision":42,"previous_revision":7,"position":0,"time":"2026-03-01T12:00:00Z","value":3000,
		"commit_id":"6b1f0c9e5d7a4b8e93d2c1f0a5b4c3d2e1f00918273645546372819aabbccdde"}`
	e, err := events.ParseConfigurationChanged([]byte(detail))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s@%d %s %s = %s\n", e.Tenant, e.Revision, e.Operation, e.Key, e.Value)
	// Output: acme@42 set tenantconfig/checkout/timeout_ms = 3000
}

func ExampleTag() {
	fmt.Println(events.Tag("tenantconfig/checkout/timeout_ms"))
	fmt.Println(events.Tag("tenant_config_payment-gateway"))
	// Output:
	// tenantconfig
	// tenant_config
}
