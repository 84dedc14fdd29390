package bridge

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// labeled is the operation of a change that leaves the value alone.
const labeled = "LabelParameterVersion"

// compare has the gateway compare a parameter with the ledger. That finds out who
// has changed it: the event is the same for a projector's writes.
func (b *Bridge) compare(ctx context.Context, detail []byte) error {
	if b.gateway.address == "" {
		return fmt.Errorf("a parameter has changed, and no gateway is configured to compare it: set %s and %s, or delete the rule for %q", addressVariable, tokenVariable, parameterChange)
	}
	var change struct {
		Operation string `json:"operation"`
		Name      string `json:"name"`
	}
	if err := json.Unmarshal(detail, &change); err != nil {
		return fmt.Errorf("read the detail of %q: %w", parameterChange, err)
	}
	if change.Name == "" {
		return fmt.Errorf("read the detail of %q: it has no name", parameterChange)
	}
	if change.Operation == labeled {
		return nil
	}
	conn, err := dial(b.gateway.address, b.gateway.host)
	if err != nil {
		return fmt.Errorf("gateway %s: %w", b.gateway.address, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := stelev1.NewSinksClient(conn).CheckDrift(bearer(ctx, b.gateway.token), &stelev1.CheckDriftRequest{Sink: b.gateway.sink, Name: change.Name})
	if err != nil {
		return fmt.Errorf("have gateway %s compare %s in sink %s: %w", b.gateway.address, change.Name, b.gateway.sink, err)
	}
	for _, d := range resp.Drift {
		b.log.Warn("a parameter is not as the ledger says", "name", d.Name, "tenant", d.Tenant, "key", d.Key, "kind", d.Kind, "action", d.Action, "failure", d.Failure)
	}
	return nil
}
