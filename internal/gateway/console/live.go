package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const (
	// maxLive pages get live updates at a time. Each holds a stream of the connection
	// to the gateway, which the pages' calls also need.
	maxLive = 500
	// liveEvery is the shortest interval of updates: the newest commit, and how many
	// there were.
	liveEvery = 300 * time.Millisecond
)

// news is an update about new commits.
type news struct {
	Revision uint64 `json:"revision"`
	Author   string `json:"author"`
	Message  string `json:"message"`
	Commits  int    `json:"commits"` // since the last news
}

// live sends new commits to a page, as server-sent events, for as long as it is open.
func (c *Console) live(v *visit) error {
	ctx, stop := context.WithCancel(v.ctx)
	defer stop()
	status, err := c.ledger.GetStatus(ctx, &stelev1.GetStatusRequest{})
	if err != nil {
		return err
	}
	who := status.GetPrincipal()
	leave, ok := c.lives.Take(who.GetTenant(), who.GetSubject())
	if !ok {
		v.w.WriteHeader(http.StatusServiceUnavailable)
		return nil
	}
	defer leave()
	stream, err := c.watch(ctx, v, who)
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy must not buffer it
	out := http.NewResponseController(v.w)
	if fmt.Fprint(v.w, ": listening\n\n"); out.Flush() != nil {
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
	tell(ctx, v.w, out, commits, ended)
	return nil
}

// watch begins with the revision after the one that the page shows, or the one that
// it heard of last.
func (c *Console) watch(ctx context.Context, v *visit, who *stelev1.Principal) (stelev1.Config_WatchClient, error) {
	after, _ := strconv.ParseUint(v.r.FormValue("after"), 10, 64)
	if last, err := strconv.ParseUint(v.r.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		after = last
	}
	create := &stelev1.CreateWatch{Id: 1, FromRevision: after + 1}
	for _, a := range who.GetAllowed() {
		if a.Operation == "read" {
			create.Prefixes = a.Prefixes
		}
	}
	stream, err := c.config.Watch(ctx)
	if err != nil {
		return nil, err
	}
	return stream, stream.Send(&stelev1.WatchRequest{Request: &stelev1.WatchRequest_Create{Create: create}})
}

// tell sends updates until the watch or the visit ends.
func tell(ctx context.Context, w http.ResponseWriter, out *http.ResponseController, commits <-chan *stelev1.WatchResponse, ended <-chan struct{}) {
	var n news
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
				n = news{e.Commit.Revision, visible(e.Commit.Author), firstLine(e.Commit.Message), n.Commits + 1}
				if due == nil {
					due = time.After(liveEvery)
				}
			case *stelev1.WatchResponse_Progress: // every ten seconds: that the page is gone, shows
				fmt.Fprint(w, ": still here\n\n")
				if out.Flush() != nil {
					return
				}
			case *stelev1.WatchResponse_Canceled:
				return
			}
		case <-due:
			body, err := json.Marshal(n)
			if err != nil {
				return
			}
			fmt.Fprintf(w, "id: %d\nevent: commit\ndata: %s\n\n", n.Revision, body)
			if out.Flush() != nil {
				return
			}
			n, due = news{}, nil
		}
	}
}
