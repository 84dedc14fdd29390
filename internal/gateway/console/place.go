package console

import (
	"errors"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// place is the content that a URL names: a page of a tenant, and the state that it
// shows.
type place struct {
	tenant ledger.Tenant
	at     ledger.Revision // 0: the newest
	page   string          // keys, history, ...; empty for the first page
	rest   string          // what the page is about, e.g. a key
}

var errNoPlace = errors.New("no such page")

// parsePlace reads a path: /TENANT[@REVISION]/[PAGE[/REST]].
func parsePlace(path string) (place, error) {
	path, rooted := strings.CutPrefix(path, "/")
	state, path, found := strings.Cut(path, "/")
	if !rooted || !found || strings.HasPrefix(path, "/") {
		return place{}, errNoPlace
	}
	var p place
	name, revision, pinned := strings.Cut(state, "@")
	if pinned {
		n, err := strconv.ParseUint(revision, 10, 64)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != revision {
			return place{}, errNoPlace
		}
		p.at = ledger.Revision(n)
	}
	var err error
	if p.tenant, err = ledger.ParseTenant(name); err != nil {
		return place{}, errNoPlace
	}
	p.page, p.rest, _ = strings.Cut(path, "/")
	return p, nil
}

// String is the path of the place.
func (p place) String() string {
	path := p.root() + p.page
	if p.page != "" && (p.rest != "" || p.page == "keys") {
		path += "/" + p.rest
	}
	return path
}

// root is the first page of the place's state, with a slash at its end.
func (p place) root() string {
	path := "/" + string(p.tenant)
	if p.at != 0 {
		path += "@" + strconv.FormatUint(uint64(p.at), 10)
	}
	return path + "/"
}

// to is another page of the same state.
func (p place) to(page, rest string) string {
	return place{p.tenant, p.at, page, rest}.String()
}

// now is the same page of the newest state.
func (p place) now() string {
	p.at = 0
	return p.String()
}

// then is the same page of another state.
func (p place) then(at ledger.Revision) string {
	p.at = at
	return p.String()
}

// state names the state that the place shows: acme@42, or acme for the newest.
func (p place) state() string {
	return strings.Trim(p.root(), "/")
}
