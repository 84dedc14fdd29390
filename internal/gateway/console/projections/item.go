package projections

import (
	"context"
	"net/http"

	"github.com/stelehq/stele/internal/gateway/console/diff"
	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// item is an item of a sink next to the ledger's value of its key.
type item struct {
	sink, name string
	drift      *stelev1.Drift // nil if the item does not differ
	change     diff.Change    // from the ledger's value to the item's
	stopped    bool           // the sink: only all of its drift can be resolved
}

// deleted reports whether adopting the item deletes its key.
func (i *item) deleted() bool { return i.drift.GetKind() == stelev1.Drift_KIND_DELETED }

// notShown reports whether the sink has a value that the answer leaves out.
func (i *item) notShown() bool { return i.drift != nil && !i.deleted() && i.drift.Value == "" }

// showItem compares one item with the ledger, and asks what to do about it.
func showItem(v *page.View, sink string) error {
	name := v.Query("name")
	if name == "" {
		return page.ErrNotFound
	}
	i := &item{sink: sink, name: name}
	var found *stelev1.CheckDriftResponse
	err := v.Load(func(ctx context.Context) (err error) {
		found, err = v.Sinks.CheckDrift(ctx, &stelev1.CheckDriftRequest{Sink: sink, Name: name, ReportOnly: true})
		return err
	})
	if err != nil {
		return err
	}
	i.stopped = found.Stopped != ""
	if len(found.Drift) > 0 {
		i.drift = found.Drift[0]
		value, err := ledgerValue(v, i.drift.Key)
		if err != nil {
			return err
		}
		i.change = diff.Of(i.drift.Key, value, i.drift.Value)
	}
	return v.Show(http.StatusOK, "Drift of "+sink, v.Command("sinks", "check", sink, name, "--report"), itemPage(v, i))
}

// ledgerValue is the value of a key, empty if it is not set.
func ledgerValue(v *page.View, key string) (string, error) {
	if key == "" {
		return "", nil
	}
	got, err := v.Config.Get(v.Ctx, &stelev1.GetRequest{Key: key})
	if status.Code(err) == codes.NotFound {
		return "", nil
	}
	return got.GetEntry().GetValue(), err
}
