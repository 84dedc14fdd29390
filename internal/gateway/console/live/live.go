// Package live notifies a browser of new commits. All of its windows share one stream.
package live

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/share"
	"github.com/stelehq/stele/internal/gateway/task"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxWatches run at a time. Each is a stream of the gateway, which other callers also need.
	maxWatches = 500
	// maxTenants is how many tenants one browser watches.
	maxTenants = 20
	// interval is the shortest interval of updates of a tenant: the newest commit, and how
	// many there were.
	interval = 300 * time.Millisecond
	// heartbeat is the longest time without a line. A browser that receives none for longer
	// shows that the gateway cannot be reached, and a write to a browser that has left fails.
	heartbeat = 10 * time.Second
)

// Updates notifies browsers of new commits.
type Updates struct{ slots *share.Slots }

// New returns the updates of a console.
func New() *Updates { return &Updates{share.New(maxWatches)} }

// update is the newest commit of several.
type update struct {
	Tenant   ledger.Tenant `json:"tenant"`
	Revision uint64        `json:"revision"`
	Author   string        `json:"author"`
	Message  string        `json:"message"`
	Commits  int           `json:"commits"` // since the last update
}

// Stream sends new commits of the tenants in the request to a browser until it leaves, one
// JSON object per line. Empty lines are heartbeats.
func (u *Updates) Stream(v *page.View) error {
	tenants, err := parseTenants(v.R.URL.Query()["after"])
	if err != nil {
		return err
	}
	resp, err := v.Ledger.GetStatus(v.Ctx, &stelev1.GetStatusRequest{}) // also verifies the session
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(v.R.Context()) // without the token, which each watch adds with its tenant
	var watches sync.WaitGroup
	defer watches.Wait()
	defer stop()
	commits, ended := make(chan update), make(chan struct{}, len(tenants))
	watching, denied := false, error(nil)
	for _, t := range tenants {
		leave, ok := u.slots.Take(resp.Principal.GetTenant(), resp.Principal.GetSubject())
		if !ok {
			v.W.WriteHeader(http.StatusTooManyRequests)
			return nil
		}
		defer leave()
		stream, err := watch(page.WithToken(ctx, v.Cookies.Token(v.R), t.name), v, t.after)
		if status.Code(err) == codes.PermissionDenied {
			denied = err
			leave()
			continue // the other windows' tenants are still watched
		}
		if err != nil {
			return err
		}
		watching = true
		watches.Go(func() {
			err := task.Run(func() error {
				receive(ctx, t.name, stream, commits)
				return nil
			})
			if err != nil {
				v.Log.Error("live updates failed", "tenant", t.name, "error", err)
			}
			ended <- struct{}{}
		})
	}
	if !watching { // nothing would end the answer, and no slot counts it
		return denied
	}
	h := v.W.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("X-Accel-Buffering", "no") // a proxy must not buffer it
	send(ctx, v.W, commits, ended)
	return nil
}

// tenant is watched from the revision that its pages show, or were last notified of.
type tenant struct {
	name  ledger.Tenant
	after uint64
}

// parseTenants parses texts such as acme@42.
func parseTenants(texts []string) ([]tenant, error) {
	if len(texts) == 0 || len(texts) > maxTenants {
		return nil, status.Errorf(codes.InvalidArgument, "after: name 1 to %d tenants and their revisions", maxTenants)
	}
	out := make([]tenant, len(texts))
	for i, text := range texts {
		name, revision, _ := strings.Cut(text, "@")
		var err error
		if out[i].name, err = ledger.ParseTenant(name); err == nil {
			out[i].after, err = strconv.ParseUint(revision, 10, 64)
		}
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "after: %.80q is not a tenant and its revision, such as acme@42", text)
		}
	}
	return out, nil
}

// watch watches what the user may read.
func watch(ctx context.Context, v *page.View, after uint64) (stelev1.Config_WatchClient, error) {
	resp, err := v.Ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
	if err != nil {
		return nil, err
	}
	user := page.User{Principal: resp.Principal}
	stream, err := v.Config.Watch(ctx)
	if err != nil {
		return nil, err
	}
	create := &stelev1.CreateWatch{Id: 1, FromRevision: after + 1, Prefixes: user.Allowed("read")}
	return stream, stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: create}})
}

// receive passes a tenant's commits on until its watch ends.
func receive(ctx context.Context, t ledger.Tenant, stream stelev1.Config_WatchClient, commits chan<- update) {
	for {
		resp, err := stream.Recv()
		if err != nil || resp.GetCanceled() != nil {
			return
		}
		c := resp.GetCommit()
		if c == nil {
			continue
		}
		select {
		case commits <- update{t, c.Revision, format.Visible(c.Author), format.FirstLine(c.Message), 1}:
		case <-ctx.Done():
			return
		}
	}
}

// send sends updates until a watch ends or the browser leaves.
func send(ctx context.Context, w http.ResponseWriter, commits <-chan update, ended <-chan struct{}) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	out := http.NewResponseController(w)
	next := map[ledger.Tenant]update{}
	var due <-chan time.Time
	lines := bytes.NewBufferString("\n")
	for {
		if _, err := lines.WriteTo(w); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
			return
		case c := <-commits:
			c.Commits += next[c.Tenant].Commits
			if next[c.Tenant] = c; due == nil {
				due = time.After(interval)
			}
		case <-beat.C:
			lines.WriteByte('\n')
		case <-due:
			encoder := json.NewEncoder(lines)
			for _, u := range next {
				if err := encoder.Encode(u); err != nil {
					return
				}
			}
			clear(next)
			due = nil
		}
	}
}
