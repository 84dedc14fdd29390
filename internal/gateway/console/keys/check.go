package keys

import (
	"net/http"

	"github.com/stelehq/stele/internal/gateway/console/form"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/task"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// verdict is what the schemas say about a value that is being typed.
type verdict struct {
	schemas    []*stelev1.Schema
	violations []*stelev1.SchemaViolation
	known      bool
}

// Check responds with the schemas of a key and the verdict about a value, for a form that is
// being filled in. A text that is not JSON has no verdict: the editor shows the error.
func Check(v *page.View) error {
	f := form.Parse(v.R)
	if _, err := ledger.ParseKey(v.Rest); err != nil {
		return v.Render(http.StatusOK, verdictOf(verdict{}))
	}
	out := verdict{}
	group, ctx := task.WithContext(v.Ctx)
	group.Go(func() error {
		got, err := v.Schemas.ExplainKey(ctx, &stelev1.ExplainKeyRequest{Key: v.Rest})
		out.schemas = got.GetSchemas()
		return err
	})
	if value, err := ledger.ParseValue(f.JSON()); err == nil {
		group.Go(func() error {
			got, err := v.Schemas.CheckValue(ctx, &stelev1.CheckValueRequest{Key: v.Rest, Value: string(value)})
			out.violations, out.known = got.GetViolations(), err == nil
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return v.Render(http.StatusOK, verdictOf(out))
}
