// Package live notifies open pages of new commits, as server-sent events.
package live

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/share"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const (
	// maxPages get live updates at a time. Each holds a stream of the connection to the
	// gateway, which the pages' calls also need.
	maxPages = 500
	// interval is the shortest interval of updates: the newest commit, and how many there
	// were.
	interval = 300 * time.Millisecond
)

// Updates notifies pages of new commits.
type Updates struct{ places *share.Places }

// New returns the updates of a console.
func New() *Updates { return &Updates{share.New(maxPages)} }

// update is the newest commit of several.
type update struct {
	Revision uint64 `json:"revision"`
	Author   string `json:"author"`
	Message  string `json:"message"`
	Commits  int    `json:"commits"` // since the last update
}

// Stream sends new commits to a page for as long as it is open.
func (u *Updates) Stream(v *page.View) error {
	ctx, stop := context.WithCancel(v.Ctx)
	defer stop()
	status, err := v.Ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
	if err != nil {
		return err
	}
	v.Principal = status.GetPrincipal()
	leave, ok := u.places.Take(v.Principal.GetTenant(), v.Principal.GetSubject())
	if !ok {
		v.W.WriteHeader(http.StatusServiceUnavailable)
		return nil
	}
	defer leave()
	stream, err := watch(ctx, v)
	if err != nil {
		return err
	}
	h := v.W.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy must not buffer it
	out := http.NewResponseController(v.W)
	if fmt.Fprint(v.W, ": listening\n\n"); out.Flush() != nil {
		return nil
	}
	commits := make(chan *stelev1.WatchResponse)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			resp, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case commits <- resp:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { stop(); <-ended }()
	send(ctx, v.W, out, commits, ended)
	return nil
}

// watch starts after the revision that the page shows, or that it was last notified of.
func watch(ctx context.Context, v *page.View) (stelev1.Config_WatchClient, error) {
	after, _ := strconv.ParseUint(v.R.FormValue("after"), 10, 64)
	if last, err := strconv.ParseUint(v.R.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		after = last
	}
	create := &stelev1.CreateWatch{Id: 1, FromRevision: after + 1, Prefixes: v.Allowed("read")}
	stream, err := v.Config.Watch(ctx)
	if err != nil {
		return nil, err
	}
	return stream, stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: create}})
}

// send sends updates until the watch ends or the page is closed.
func send(ctx context.Context, w http.ResponseWriter, out *http.ResponseController, commits <-chan *stelev1.WatchResponse, ended <-chan struct{}) {
	var next update
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ended:
			return
		case resp := <-commits:
			switch e := resp.Event.(type) {
			case *stelev1.WatchResponse_Commit:
				next = update{e.Commit.Revision, format.Visible(e.Commit.Author), format.FirstLine(e.Commit.Message), next.Commits + 1}
				if due == nil {
					due = time.After(interval)
				}
			case *stelev1.WatchResponse_Progress: // every ten seconds: it detects a page that was closed
				fmt.Fprint(w, ": progress\n\n")
				if out.Flush() != nil {
					return
				}
			case *stelev1.WatchResponse_Canceled:
				return
			}
		case <-due:
			body, err := json.Marshal(next)
			if err != nil {
				return
			}
			fmt.Fprintf(w, "id: %d\nevent: commit\ndata: %s\n\n", next.Revision, body)
			if out.Flush() != nil {
				return
			}
			next, due = update{}, nil
		}
	}
}
