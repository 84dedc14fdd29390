package view

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/stelehq/stele/ledger"
)

// PageToken says where a listing goes on: at which revision, or between which
// two, and from which key.
type PageToken struct {
	From, Revision ledger.Revision
	Key            string
}

// String returns the token as responses carry it.
func (t PageToken) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d,%d:%s", t.From, t.Revision, t.Key))
}

// ErrPageToken is the violation of a page token that no call has returned.
var ErrPageToken = ledger.Invalid("page_token", "it is not one that this call has given: start again without it")

// ParsePageToken reads a page token of a request.
func ParsePageToken(s string) (PageToken, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return PageToken{}, ErrPageToken
	}
	numbers, key, ok := strings.Cut(string(b), ":")
	if !ok {
		return PageToken{}, ErrPageToken
	}
	from, at, _ := strings.Cut(numbers, ",")
	first, err := strconv.ParseUint(from, 10, 64)
	if err != nil {
		return PageToken{}, ErrPageToken
	}
	rev, err := strconv.ParseUint(at, 10, 64)
	if err != nil || rev == 0 || first > rev {
		return PageToken{}, ErrPageToken
	}
	if _, err := ledger.ParsePrefix(key); err != nil {
		return PageToken{}, ErrPageToken
	}
	return PageToken{ledger.Revision(first), ledger.Revision(rev), key}, nil
}
