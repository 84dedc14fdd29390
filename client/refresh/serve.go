package refresh

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Serve serves stele.v1.CacheRefresh on a gRPC server. Callers send one of
// the secrets as "authorization: Bearer SECRET"; there are several while one
// replaces another. If refresh fails, the caller gets its error and calls again.
func Serve(s grpc.ServiceRegistrar, secrets []string, refresh func(context.Context, Request) error) error {
	if err := checkSecrets(secrets); err != nil {
		return fmt.Errorf("serve refresh: %w", err)
	}
	stelev1.RegisterCacheRefreshServer(s, &refreshServer{secrets: secrets, refresh: refresh})
	return nil
}

type refreshServer struct {
	stelev1.UnimplementedCacheRefreshServer
	secrets []string
	refresh refreshFunc
}

func (s *refreshServer) Refresh(ctx context.Context, req *stelev1.RefreshRequest) (*stelev1.RefreshResponse, error) {
	if !s.authentic(ctx) {
		return nil, status.Error(codes.Unauthenticated, "send \"authorization: Bearer SECRET\" with the secret of this service")
	}
	r := Request{Tenant: req.Tenant, Changes: make([]KeyChange, len(req.Changes))}
	for i, c := range req.Changes {
		r.Changes[i] = KeyChange{Key: c.GetKey(), Revision: c.GetRevision(), Deleted: c.GetDeleted(), CommitID: hex.EncodeToString(c.GetCommitId())}
	}
	if err := r.check(); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "the request is not a refresh: %v", err)
	}
	if err := s.refresh(ctx, r); err != nil {
		return nil, err
	}
	return &stelev1.RefreshResponse{}, nil
}

func (s *refreshServer) authentic(ctx context.Context) bool {
	header := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(header) != 1 {
		return false
	}
	scheme, token, _ := strings.Cut(header[0], " ")
	return strings.EqualFold(scheme, "bearer") && known(token, s.secrets)
}
