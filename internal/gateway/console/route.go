package console

import (
	"net/http"
	"strings"
)

// handler answers a visit. Its error is shown as a page.
type handler func(*Console, *visit) error

// methods are the handlers of a page; nil if it does not accept the method.
type methods struct {
	get, post handler
	// newest: the page has no past states, and /acme@42/... is not a valid address of
	// it.
	newest bool
	// open to visitors who have not logged in.
	open bool
}

// ownPages belong to no tenant.
var ownPages = map[string]methods{
	"":               {get: (*Console).showTenants},
	"login":          {get: (*Console).showLogin, post: (*Console).login, open: true},
	"logout":         {post: (*Console).logout, open: true},
	"login/provider": {get: (*Console).beginLogin, open: true},
	"login/callback": {get: (*Console).endLogin, open: true},
	"access":         {get: (*Console).showAccess},
	"-/theme":        {post: (*Console).setTheme, open: true},
}

// tenantPages are those of a tenant, by the word after it.
var tenantPages = map[string]methods{
	"":            {get: (*Console).showFirst},
	"keys":        {get: (*Console).showKeys, post: (*Console).save},
	"raw":         {get: (*Console).raw},
	"reveal":      {post: (*Console).reveal},
	"new":         {get: (*Console).showNew, post: (*Console).create, newest: true},
	"delete":      {get: (*Console).showDelete, post: (*Console).remove, newest: true},
	"history":     {get: (*Console).showHistory},
	"commits":     {get: (*Console).commits, post: (*Console).commits, newest: true},
	"compare":     {get: (*Console).showCompare, newest: true},
	"rollback":    {get: (*Console).showRollback, post: (*Console).rollBack},
	"projections": {get: (*Console).projections, post: (*Console).projections, newest: true},
	"schemas":     {get: (*Console).schemasPages, post: (*Console).schemasPages},
	"access":      {get: (*Console).showAccess, newest: true},
	"at":          {get: (*Console).goToMoment, newest: true},
	"ticks":       {get: (*Console).showTicks, newest: true},
	"live":        {get: (*Console).live, newest: true},
}

// route finds the page of a request and answers with it.
func (c *Console) route(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if name, ok := strings.CutPrefix(path, assetRoot); ok {
		c.assets.serve(w, r, name)
		return
	}
	if path == "/favicon.ico" {
		http.Redirect(w, r, c.assets.url("stele.svg"), http.StatusSeeOther)
		return
	}
	v := &visit{Console: c, w: w, r: r, ctx: r.Context()}
	if err := c.answer(v, path); err != nil {
		v.fail(err)
	}
}

func (c *Console) answer(v *visit, path string) error {
	if m, ok := ownPages[strings.TrimPrefix(path, "/")]; ok {
		if !m.open && !v.enter("") {
			return v.askToLogIn()
		}
		return m.call(v)
	}
	if !strings.Contains(strings.TrimPrefix(path, "/"), "/") {
		p, err := parsePlace(path + "/")
		if err != nil {
			return err
		}
		return v.redirect(p.root())
	}
	p, err := parsePlace(path)
	if err != nil {
		return err
	}
	m, ok := tenantPages[p.page]
	if !ok || m.newest && p.at != 0 {
		return errNoPlace
	}
	v.place, v.pastless = p, m.newest
	if !v.enter(p.tenant) {
		return v.askToLogIn()
	}
	return m.call(v)
}

func (m methods) call(v *visit) error {
	switch {
	case (v.r.Method == http.MethodGet || v.r.Method == http.MethodHead) && m.get != nil:
		return m.get(v.Console, v)
	case v.r.Method == http.MethodPost && m.post != nil:
		return m.post(v.Console, v)
	}
	return errMethod
}
