package page

import (
	"errors"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
)

// Address is the content that a URL names: a page of a tenant, and the state that it
// shows.
type Address struct {
	Tenant ledger.Tenant
	At     ledger.Revision // 0: the newest
	Page   string          // keys, history, ...; empty for the first page
	Rest   string          // the subject of the page, for example a key
}

// ErrNotFound: no page has this address.
var ErrNotFound = errors.New("no such page")

// ParseAddress reads a path: /TENANT[@REVISION]/[PAGE[/REST]].
func ParseAddress(path string) (Address, error) {
	path, rooted := strings.CutPrefix(path, "/")
	state, path, found := strings.Cut(path, "/")
	if !rooted || !found || strings.HasPrefix(path, "/") {
		return Address{}, ErrNotFound
	}
	var a Address
	name, revision, pinned := strings.Cut(state, "@")
	if pinned {
		n, err := strconv.ParseUint(revision, 10, 64)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != revision {
			return Address{}, ErrNotFound
		}
		a.At = ledger.Revision(n)
	}
	var err error
	if a.Tenant, err = ledger.ParseTenant(name); err != nil {
		return Address{}, ErrNotFound
	}
	a.Page, a.Rest, _ = strings.Cut(path, "/")
	return a, nil
}

// String is the path of the address.
func (a Address) String() string {
	path := a.Root() + a.Page
	if a.Page != "" && (a.Rest != "" || a.Page == "keys") {
		path += "/" + a.Rest
	}
	return path
}

// Root is the first page of the state, with a slash at its end.
func (a Address) Root() string {
	path := "/" + string(a.Tenant)
	if a.At != 0 {
		path += "@" + strconv.FormatUint(uint64(a.At), 10)
	}
	return path + "/"
}

// To is another page of the same state.
func (a Address) To(page, rest string) string { return Address{a.Tenant, a.At, page, rest}.String() }

// ToNewest is another page of the newest state.
func (a Address) ToNewest(page, rest string) string { return Address{a.Tenant, 0, page, rest}.String() }

// Then is the same page of another state; 0 is the newest.
func (a Address) Then(at ledger.Revision) string {
	a.At = at
	return a.String()
}

// State names the state that the address shows: acme@42, or acme for the newest.
func (a Address) State() string { return strings.Trim(a.Root(), "/") }

// StateAt is the first page of a tenant's state at a revision.
func StateAt(t ledger.Tenant, revision uint64) Address {
	return Address{Tenant: t, At: ledger.Revision(revision)}
}

// CommitPath is the page of a commit.
func CommitPath(t ledger.Tenant, revision uint64) string {
	return Address{Tenant: t}.To("commits", strconv.FormatUint(revision, 10))
}
