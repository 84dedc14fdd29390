package console

import (
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/gateway/apierror"
	"github.com/stelehq/stele/internal/gateway/console/access"
	"github.com/stelehq/stele/internal/gateway/console/assets"
	"github.com/stelehq/stele/internal/gateway/console/changes"
	"github.com/stelehq/stele/internal/gateway/console/compare"
	"github.com/stelehq/stele/internal/gateway/console/fleet"
	"github.com/stelehq/stele/internal/gateway/console/history"
	"github.com/stelehq/stele/internal/gateway/console/keys"
	"github.com/stelehq/stele/internal/gateway/console/live"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/console/projections"
	"github.com/stelehq/stele/internal/gateway/console/promote"
	"github.com/stelehq/stele/internal/gateway/console/rollback"
	"github.com/stelehq/stele/internal/gateway/console/schemas"
	"github.com/stelehq/stele/internal/gateway/console/search"
	"github.com/stelehq/stele/internal/gateway/console/session"
	"github.com/stelehq/stele/internal/gateway/console/tenants"
	"github.com/stelehq/stele/internal/gateway/console/timeline"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// route has the handlers of a page; nil if it does not accept the method.
type route struct {
	get, post page.Handler
	// timeless: the page has no past states, and /acme@42/... is not a valid address of
	// it.
	timeless bool
	// open to users who have not logged in.
	open bool
}

// ownPages belong to no tenant.
func ownPages(cfg Config) map[string]route {
	s := session.New(cfg.Provider, cfg.Link)
	return map[string]route{
		"":               {get: tenants.Show},
		"login":          {get: s.ShowLogin, post: s.LogIn, open: true},
		"logout":         {post: session.LogOut, open: true},
		"login/provider": {get: s.BeginAtProvider, open: true},
		"login/callback": {get: s.EndAtProvider, open: true},
		"access":         {get: access.Show},
		"search":         {get: search.ShowAll},
		"fleet":          {get: fleet.Show},
		"-/jump":         {get: search.Jump},
		"-/theme":        {post: page.SetTheme, open: true},
		"-/live":         {get: live.New().Stream},
	}
}

// tenantPages are those of a tenant, by the word after it.
func tenantPages(cfg Config) map[string]route {
	permissions := access.New(cfg.Mint)
	sinks := projections.New()
	return map[string]route{
		"":            {get: keys.ShowFirst},
		"keys":        {get: keys.Show, post: keys.Save},
		"raw":         {get: keys.Raw},
		"check":       {post: keys.Check, timeless: true},
		"reveal":      {post: keys.Reveal},
		"new":         {get: keys.ShowNew, post: keys.Create, timeless: true},
		"delete":      {get: keys.ShowDelete, post: keys.Delete, timeless: true},
		"changes":     {get: changes.Show, post: changes.Post, timeless: true},
		"history":     {get: history.Show},
		"commits":     {get: history.ShowCommit, post: history.PostCommit, timeless: true},
		"compare":     {get: compare.Show, timeless: true},
		"rollback":    {get: rollback.Show, post: rollback.RollBack},
		"promote":     {get: promote.Show, post: promote.Post, timeless: true},
		"search":      {get: search.Show},
		"jump":        {get: search.Jump},
		"projections": {get: sinks.Show, post: sinks.Decide, timeless: true},
		"schemas":     {get: schemas.Show, post: schemas.Set},
		"access":      {get: permissions.Show, post: permissions.Post, timeless: true},
		"at":          {get: timeline.GoTo, timeless: true},
		"zoom":        {post: page.Zoom, timeless: true},
	}
}

// route finds the page of a request and responds with it.
func (c *Console) route(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if name, ok := strings.CutPrefix(path, assets.Root); ok {
		c.site.Assets.Serve(w, r, name)
		return
	}
	if path == "/favicon.ico" {
		http.Redirect(w, r, c.site.Assets.URL("stele.svg"), http.StatusSeeOther)
		return
	}
	v := c.site.NewView(w, r)
	if err := c.respond(v, path); err != nil {
		fail(v, err)
	}
}

func (c *Console) respond(v *page.View, path string) error {
	if r, ok := c.own[strings.TrimPrefix(path, "/")]; ok {
		if !r.open && !v.Authenticate("") {
			return v.AskToLogIn()
		}
		return c.call(v, r)
	}
	if !strings.Contains(strings.TrimPrefix(path, "/"), "/") {
		a, err := page.ParseAddress(path + "/")
		if err != nil {
			return err
		}
		return v.Redirect(a.Root())
	}
	a, err := page.ParseAddress(path)
	if err != nil {
		return err
	}
	r, ok := c.tenant[a.Page]
	if !ok || r.timeless && a.At != 0 {
		return page.ErrNotFound
	}
	v.Address, v.Timeless = a, r.timeless
	if !v.Authenticate(a.Tenant) {
		return v.AskToLogIn()
	}
	return c.call(v, r)
}

func (c *Console) call(v *page.View, r route) error {
	switch {
	case (v.R.Method == http.MethodGet || v.R.Method == http.MethodHead) && r.get != nil:
		return r.get(v)
	case v.R.Method == http.MethodPost && r.post != nil:
		release, err := c.receiveForm(v)
		if err != nil {
			return err
		}
		defer release()
		return r.post(v)
	}
	return page.ErrMethod
}

// formCopies is how often a form is in memory: its bytes, its text, and its fields.
const formCopies = 3

// sendTimeout is how long the answer to a form may take: until then the form keeps its memory.
const sendTimeout = time.Minute

// receiveForm reads a form. A large one waits for its memory first, and needs a valid token. release
// gives the memory back. A body of another type is rejected, because ParseForm does not read it: the
// server would, when it answers, without a deadline.
func (c *Console) receiveForm(v *page.View) (release func(), err error) {
	if kind, _, _ := mime.ParseMediaType(v.R.Header.Get("Content-Type")); v.R.ContentLength != 0 && kind != "application/x-www-form-urlencoded" {
		return nil, status.Error(codes.InvalidArgument, "the body is not a form: send application/x-www-form-urlencoded")
	}
	release, err = c.bodies.Reserve(v.R.Context(), v.R, maxForm, formCopies, func() (string, error) { return v.Cookies.Token(v.R), nil })
	if err != nil {
		return nil, apierror.StatusOf(v.Log, v.R.URL.Path, err)
	}
	v.R.Body = http.MaxBytesReader(v.W, v.R.Body, maxForm)
	if err := v.R.ParseForm(); err != nil {
		release()
		return nil, status.Error(codes.InvalidArgument, "the form cannot be read, or has more than 8 MiB")
	}
	control := http.NewResponseController(v.W)
	control.SetReadDeadline(time.Time{})
	control.SetWriteDeadline(time.Now().Add(sendTimeout))
	return release, nil
}
