package console

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/a-h/templ"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// visit is one request: its user, its target, and the answer.
type visit struct {
	*Console
	place
	w http.ResponseWriter
	r *http.Request
	// pastless: the page is the same at every moment.
	pastless bool
	// ctx carries the visitor's token and, for an operator, the tenant.
	ctx context.Context

	// What frame found out; zero where it did not.
	head      *stelev1.GetHeadResponse
	principal *stelev1.Principal
	status    *stelev1.GetStatusResponse
	shown     *timestamppb.Timestamp // the past state's time
}

// enter makes the visit one of a logged-in user, to a tenant or, if that is empty, to
// none.
func (v *visit) enter(t ledger.Tenant) bool {
	token := v.cookies().Token(v.r)
	if token != "" {
		v.ctx = withToken(v.r.Context(), token, t)
	}
	return token != ""
}

// withToken makes calls with a token, for a tenant unless it is empty.
func withToken(ctx context.Context, token string, t ledger.Tenant) context.Context {
	kv := []string{"authorization", "Bearer " + token}
	if t != "" {
		kv = append(kv, "as-tenant", string(t))
	}
	return metadata.AppendToOutgoingContext(ctx, kv...)
}

// load makes calls concurrently, including the calls of every page. The first error
// ends the page's own; the frame's data is also for the page of an error.
func (v *visit) load(calls ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(v.ctx)
	group.Go(func() (err error) {
		if v.status, err = v.ledger.GetStatus(v.ctx, &stelev1.GetStatusRequest{}); err == nil {
			v.principal = v.status.Principal
		}
		return err
	})
	if v.tenant != "" {
		group.Go(func() (err error) {
			v.head, err = v.ledger.GetHead(v.ctx, &stelev1.GetHeadRequest{})
			return err
		})
	}
	if v.at != 0 {
		group.Go(func() error {
			at, err := v.commitAt(ctx, v.moment())
			if err == nil {
				v.shown = at.Commit.Time
			}
			return err
		})
	}
	for _, call := range calls {
		group.Go(func() error { return call(ctx) })
	}
	return group.Wait()
}

// moment is the revision of a read for this place: the state that the URL names, or the
// newest.
func (v *visit) moment() *stelev1.At {
	if v.at == 0 {
		return nil
	}
	return &stelev1.At{Point: &stelev1.At_Revision{Revision: uint64(v.at)}}
}

// show answers with a page in the frame. The command does on the command line what
// the page does; empty for none.
func (v *visit) show(status int, title string, command command, content templ.Component) error {
	return v.render(status, layout(v, title, command, content))
}

// plain answers with a page that has no more than the wordmark around it.
func (v *visit) plain(status int, title string, content templ.Component) error {
	return v.render(status, bare(v, title, content))
}

const (
	// maxRendering pages are made at a time. Nothing waits for a visitor meanwhile.
	maxRendering = 16
	// maxPage is the longest page, in bytes.
	maxPage = 16 << 20
)

// render answers with a page. It is whole before its first byte is sent, so that an
// error leaves none that is broken off. A visitor that leaves waits no longer.
func (v *visit) render(status int, page templ.Component) error {
	b, err := v.make(page)
	if err != nil {
		return fmt.Errorf("write a page: %w", err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	v.w.Write(b.Bytes()) // the user may have left
	return nil
}

func (v *visit) make(page templ.Component) (*bytes.Buffer, error) {
	ctx := v.r.Context()
	select {
	case v.rendering <- struct{}{}:
		defer func() { <-v.rendering }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b := &boundedPage{ctx: ctx}
	return &b.Buffer, page.Render(ctx, b)
}

// boundedPage is a page that is being made. It ends when it is too long, and when its
// visitor has left.
type boundedPage struct {
	bytes.Buffer
	ctx context.Context
}

func (b *boundedPage) Write(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.Len()+len(p) > maxPage {
		return 0, fmt.Errorf("it has more than %d bytes", maxPage)
	}
	return b.Buffer.Write(p)
}

func (b *boundedPage) WriteString(s string) (int, error) { return b.Write([]byte(s)) }

// redirect leads to a path of the console, by GET.
func (v *visit) redirect(path string) error {
	if v.r.URL.RawQuery != "" && v.r.Method == http.MethodGet && path == v.r.URL.Path+"/" {
		path += "?" + v.r.URL.RawQuery
	}
	http.Redirect(v.w, v.r, path, http.StatusSeeOther)
	return nil
}

func (v *visit) askToLogIn() error {
	if elsewhere(v.r) && v.cookies().Token(v.r) == "" {
		return v.hop(localPath(v.r.URL.RequestURI()))
	}
	to := "/login"
	if v.r.Method == http.MethodGet && v.r.URL.Path != "/" {
		to += "?to=" + url.QueryEscape(v.r.URL.RequestURI())
	}
	return v.redirect(to)
}

// may says whether the visitor may do something to a key, or to all keys under a
// prefix, as far as the frame knows. The gateway decides; this is for what
// the page offers.
func (v *visit) may(operation, prefix string) bool {
	for _, a := range v.principal.GetAllowed() {
		if a.Operation != operation {
			continue
		}
		for _, p := range a.Prefixes {
			if ledger.Pattern(p).Covers(ledger.Pattern(prefix)) {
				return true
			}
		}
	}
	return false
}

// operator says whether the visitor may act for any tenant.
func (v *visit) operator() bool {
	for _, r := range v.principal.GetRoles() {
		if r == "operator" {
			return true
		}
	}
	return false
}

// together makes calls side by side. The first error ends them all.
func together(ctx context.Context, calls ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, call := range calls {
		group.Go(func() error { return call(ctx) })
	}
	return group.Wait()
}

// visitAt is the visit with links to a state of the past.
func visitAt(v *visit, revision uint64) *visit {
	then := *v
	then.at = ledger.Revision(revision)
	return &then
}
