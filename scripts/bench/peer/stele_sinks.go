package peer

import (
	"context"
	"fmt"

	"github.com/stelehq/stele/internal/gateway/identity"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
)

func (c *steleClient) sinks() stelev1.SinksClient { return stelev1.NewSinksClient(c.next()) }

// asOperator calls as who counts for all tenants.
func (c *steleClient) asOperator() grpc.CallOption {
	return grpc.PerRPCCredentials(c.mint(identity.Claims{Roles: []identity.Role{identity.Operator}}))
}

func (c *steleClient) Sink(ctx context.Context, name string) (written, behind uint64, err error) {
	r, err := c.sinks().ListSinks(ctx, &stelev1.ListSinksRequest{}, c.asOperator())
	if err != nil {
		return 0, 0, err
	}
	for _, s := range r.Sinks {
		if s.Name != name || s.Owner == "" {
			continue
		}
		if s.Failures > 0 {
			return 0, 0, fmt.Errorf("stele: sink %s: %s", name, s.LastError)
		}
		return s.Writes, s.LagRevisions, nil
	}
	return 0, 0, fmt.Errorf("stele: no process writes to sink %s", name)
}

func (c *steleClient) Rebuild(ctx context.Context, name string) error {
	_, err := c.sinks().Replay(ctx, &stelev1.ReplayRequest{Sink: name}, c.asOperator())
	return err
}
