package console

import (
	"context"
	"net/http"

	"github.com/stelehq/stele/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// showKeys shows the keys under a prefix.
func (c *Console) showKeys(v *visit) error {
	prefix, err := ledger.ParsePrefix(v.rest)
	if err != nil {
		return errNoPlace
	}
	var list *stelev1.ListResponse
	err = v.load(func(ctx context.Context) (err error) {
		list, err = c.config.List(ctx, &stelev1.ListRequest{Prefix: string(prefix), At: v.moment(), PageSize: 200})
		return err
	})
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "Keys", v.command("list", string(prefix)), keysPage(v, list.Entries))
}
