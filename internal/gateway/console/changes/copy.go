package changes

import (
	"fmt"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/form"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// copyRows reviews the change set that makes chosen keys what they are in another state: of
// this tenant, or of another one that the user has access to.
func copyRows(v *page.View) error {
	from, err := page.ParseAddress("/" + v.R.PostFormValue("from") + "/")
	if err != nil || from.At == 0 {
		return status.Error(codes.InvalidArgument, "from: name the state to copy from, such as acme@42")
	}
	keys := v.R.PostForm["key"]
	if len(keys) == 0 || len(keys) > maxRows {
		return status.Errorf(codes.InvalidArgument, "key: choose the keys to copy, at most %d", maxRows)
	}
	theirs := page.WithToken(v.R.Context(), v.Cookies.Token(v.R), from.Tenant)
	got, err := v.Config.BatchGet(theirs, &stelev1.BatchGetRequest{Keys: keys, At: page.Revision(uint64(from.At))})
	if err != nil {
		return err
	}
	s := &set{name: form.NewName(), message: fmt.Sprintf("copy %s from %s", format.Plural(len(keys), "key"), from.State())}
	if from.Tenant == v.Tenant {
		s.message = fmt.Sprintf("set %s back to %s", format.Plural(len(keys), "key"), from.At)
	}
	secrets := 0
	for _, e := range got.Entries {
		if e.Secret {
			secrets++ // its value is hidden
			continue
		}
		s.rows = append(s.rows, row{key: e.Key, value: e.Value})
	}
	for _, key := range got.Missing {
		s.rows = append(s.rows, row{key: key, delete: true})
	}
	s.note = "Keys as they are in " + from.State() + "."
	if secrets > 0 {
		s.note += " Not copied, because their values are hidden: " + strings.TrimSpace(format.Plural(secrets, "secret")) + "."
	}
	return showReview(v, s)
}
