package gateway_test

import (
	"crypto/tls"
	"testing"

	"github.com/stelehq/stele/internal/gateway"
	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestInProcess: what is served over other protocols is no way around the checks of
// a call, and needs no certificate where the network does.
func TestInProcess(t *testing.T) {
	f := start(t, func(c *gateway.Config) { c.TLS = &tls.Config{} })
	conn, err := f.gateway.InProcess()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	config, ledger := stelev1.NewConfigClient(conn), stelev1.NewLedgerClient(conn)
	if _, err := config.List(t.Context(), &stelev1.ListRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	reader := f.as(t, "acme", identity.Reader)
	if _, err := config.List(reader, &stelev1.ListRequest{}); err != nil {
		t.Errorf("with a token: %v", err)
	}
	change := &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: "a/b", Value: "1"}}}
	if _, err := ledger.Commit(reader, change); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a reader's write: %v", err)
	}
}
