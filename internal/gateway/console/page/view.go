package page

import (
	"context"
	"net/http"

	"github.com/stelehq/stele/internal/gateway/task"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// View is one request: its user, its address, and the response.
type View struct {
	*Site
	Address
	Request
	// Timeless: the page has no past states.
	Timeless bool
	// Confidential pages are not compressed: the length of a compressed page depends on the
	// secret that it has and on what an attacker made it show.
	Confidential bool
	// Ctx carries the user's token and, for an operator, the tenant.
	Ctx context.Context

	// Set by Load; zero if the call failed.
	User
	Head   *stelev1.GetHeadResponse
	Status *stelev1.GetStatusResponse
	shown  *timestamppb.Timestamp // the past state's time
	placed *timestamppb.Timestamp // the time of the state on the time axis; nil for the newest
	axis   *axis                  // nil without a commit
	// Marks are shown on the time axis, set before the page is shown.
	Marks []Mark
}

// NewView returns the view of a request. Its address is not set yet.
func (s *Site) NewView(w http.ResponseWriter, r *http.Request) *View {
	return &View{Site: s, Request: Request{w, r}, Ctx: r.Context()}
}

// Authenticate adds the user's token to the calls of the view, for a tenant unless
// that is empty. It reports whether the user has logged in.
func (v *View) Authenticate(t ledger.Tenant) bool {
	token := v.Cookies.Token(v.R)
	if token != "" {
		v.Ctx = WithToken(v.R.Context(), token, t)
	}
	return token != ""
}

// WithToken makes calls with a token, for a tenant unless it is empty.
func WithToken(ctx context.Context, token string, t ledger.Tenant) context.Context {
	kv := []string{"authorization", "Bearer " + token}
	if t != "" {
		kv = append(kv, "as-tenant", string(t))
	}
	return metadata.AppendToOutgoingContext(ctx, kv...)
}

// Load makes calls concurrently, including those that the layout of every page needs.
// The first error cancels the page's own calls; the layout's are also for the page of
// an error.
func (v *View) Load(calls ...func(context.Context) error) error {
	group, ctx := task.WithContext(v.Ctx)
	group.Go(func() error { return v.LoadUser(v.Ctx) })
	if v.Tenant != "" {
		group.Go(func() error { return v.LoadHead(v.Ctx) })
	}
	if r := v.sliderCommit(); r != 0 {
		group.Go(func() error {
			commit, err := v.CommitAt(ctx, Revision(uint64(r)))
			v.placed = commit.GetCommit().GetTime()
			if v.At == 0 {
				return nil // the page of a commit reports the error itself
			}
			v.shown = v.placed
			return err
		})
	}
	for _, call := range calls {
		group.Go(func() error { return call(ctx) })
	}
	return group.Wait()
}

// LoadUser makes the call for the user and the gateway's status.
func (v *View) LoadUser(ctx context.Context) (err error) {
	if v.Status, err = v.Ledger.GetStatus(ctx, &stelev1.GetStatusRequest{}); err == nil {
		v.Principal = v.Status.Principal
	}
	return err
}

// LoadHead makes the calls for the time axis.
func (v *View) LoadHead(ctx context.Context) error {
	return Together(ctx, func(ctx context.Context) (err error) {
		v.Head, err = v.Ledger.GetHead(ctx, &stelev1.GetHeadRequest{})
		return err
	}, func(ctx context.Context) error { return v.loadAxis(ctx, v.window()) })
}

// Together makes calls concurrently. The first error cancels the others.
func Together(ctx context.Context, calls ...func(context.Context) error) error {
	group, ctx := task.WithContext(ctx)
	for _, call := range calls {
		group.Go(func() error { return call(ctx) })
	}
	return group.Wait()
}

// AtRevision is the view with links to the state at a revision.
func (v *View) AtRevision(revision uint64) *View {
	then := *v
	then.At = ledger.Revision(revision)
	return &then
}
