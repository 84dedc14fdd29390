// Package schemas has the pages of schemas: all of them, and the form that tests and sets
// one.
package schemas

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/form"
	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/gateway/console/review"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/schema"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// schemaView is the schema of a prefix, and the values that a candidate for it would
// violate.
type schemaView struct {
	prefix        string
	own, platform *stelev1.Schema       // nil without one
	bases         []*stelev1.Schema     // those that the tenant's bases set for the prefix
	current       uint64                // revision of the key, also if its value is a base's; 0 if it is not set
	live          *stelev1.BrokenValues // existing values that violate their schemas; nil if not checked
	candidate     *stelev1.BrokenValues // those that the candidate would break; nil before it is checked
	form          form.Write
	problem       string
	allow         bool // the candidate is set although live values break it
	kept          bool // the form returned from its review
}

func (s *schemaView) revision() uint64 { return s.own.GetRevision() }

// Show shows all schemas, or the schema of a prefix.
func Show(v *page.View) error {
	switch {
	case v.Rest != "":
		return showSchema(v, http.StatusOK, &schemaView{form: form.Write{Name: form.NewName()}})
	case v.R.FormValue("prefix") != "":
		prefix := strings.Trim(v.R.FormValue("prefix"), "/ ")
		if _, err := ledger.ParseKey(schema.Tag + prefix); err != nil {
			return status.Error(codes.InvalidArgument, "prefix: "+err.Error())
		}
		return v.Redirect(v.ToNewest("schemas", prefix))
	}
	return showSchemas(v)
}

func showSchemas(v *page.View) error {
	list := &stelev1.ListSchemasResponse{}
	live := &stelev1.CheckLiveResponse{}
	err := v.Load(func(ctx context.Context) (err error) {
		list, err = v.Schemas.ListSchemas(ctx, &stelev1.ListSchemasRequest{At: v.AsOf()})
		return err
	}, func(ctx context.Context) (err error) {
		if live, err = v.Schemas.CheckLive(ctx, &stelev1.CheckLiveRequest{}); status.Code(err) == codes.PermissionDenied {
			err = nil // a user with access to a part only does not get the whole
		}
		return err
	})
	if err != nil {
		return err
	}
	return v.Show(http.StatusOK, "Schemas", v.ReadCommand("schema", "list"), schemasPage(v, list.Schemas, live.GetBroken()))
}

// showSchema shows a prefix's schema, and the form that sets it.
func showSchema(v *page.View, code int, s *schemaView) error {
	s.prefix = v.Rest
	if _, err := ledger.ParseKey(schema.Tag + s.prefix); err != nil {
		return page.ErrNotFound
	}
	err := v.Load(func(ctx context.Context) error {
		list, err := v.Schemas.ListSchemas(ctx, &stelev1.ListSchemasRequest{Prefix: s.prefix, At: v.AsOf()})
		for _, found := range list.GetSchemas() {
			switch {
			case found.Prefix != s.prefix:
			case found.Platform:
				s.platform = found
			case found.Base != "":
				s.bases = append(s.bases, found)
			default:
				s.own = found
			}
		}
		return err
	}, func(ctx context.Context) error {
		got, err := v.Config.Get(ctx, &stelev1.GetRequest{Key: schema.Tag + s.prefix, At: v.AsOf()})
		if status.Code(err) == codes.NotFound {
			return nil
		}
		s.current = got.GetEntry().GetRevision()
		return err
	}, func(ctx context.Context) error {
		live, err := v.Schemas.CheckLive(ctx, &stelev1.CheckLiveRequest{Prefix: s.prefix})
		s.live = live.GetBroken()
		if status.Code(err) == codes.PermissionDenied {
			err = nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if s.form.Value == "" {
		s.form.Value, s.form.Expected = format.Pretty(cmp.Or(s.own.GetDocument(), "{}")), s.current
	}
	return v.Show(code, "Schema of "+s.prefix, v.ReadCommand("schema", "set", s.prefix, "-f", "FILE"), schemaPage(v, s))
}

// Set checks the existing values against a candidate, or sets it.
func Set(v *page.View) error {
	if v.Rest == "" {
		return page.ErrNotFound
	}
	f := form.Parse(v.R)
	f.Key = schema.Tag + v.Rest
	s := &schemaView{form: f, allow: v.R.PostFormValue("allow") != ""}
	var err error
	switch v.R.PostFormValue("do") {
	case "check":
		var got *stelev1.CheckSchemaResponse
		if got, err = v.Schemas.CheckSchema(v.Ctx, &stelev1.CheckSchemaRequest{Prefix: v.Rest, Document: f.JSON()}); err == nil {
			s.candidate = got.Broken
			return showSchema(v, http.StatusOK, s)
		}
	case "edit":
		s.kept = true
		return showSchema(v, http.StatusOK, s)
	case "review":
		var plan *review.Review
		if plan, err = review.Plan(v.Ctx, v, s.request()); err == nil {
			return showReview(v, s, plan)
		}
	default:
		var done *stelev1.CommitResponse
		if done, err = v.Ledger.Commit(v.Ctx, s.request()); err == nil {
			return v.Redirect(v.ToNewest("schemas", v.Rest) + "?written=" + format.Number(done.Revision))
		}
	}
	rejection, shown := page.RejectionOf(err)
	if !shown {
		return err
	}
	s.problem = rejection.Text()
	return showSchema(v, rejection.Status, s)
}

// request is the change set of the form.
func (s *schemaView) request() *stelev1.CommitRequest {
	return &stelev1.CommitRequest{
		Changes:       []*stelev1.Change{{Key: s.form.Key, Value: s.form.JSON()}},
		Preconditions: []*stelev1.Precondition{s.form.Precondition()},
		Message:       s.form.Message, AllowInvalid: s.allow, RequestId: s.form.RequestID("schema " + strconv.FormatBool(s.allow)),
	}
}

// showReview shows what the form would change. A schema that is set already is not set again.
func showReview(v *page.View, s *schemaView, plan *review.Review) error {
	if plan.Total == 0 {
		s.problem = "The prefix has this schema already: there is nothing to set."
		return showSchema(v, http.StatusOK, s)
	}
	s.prefix = v.Rest
	if err := v.Load(); err != nil {
		return err
	}
	return v.Show(http.StatusOK, "Review the schema of "+s.prefix, v.ReadCommand("schema", "set", s.prefix, "-f", "FILE"), reviewPage(v, s, plan))
}

// brokenPlaces are the violations in a value.
func brokenPlaces(b *stelev1.BrokenValue) []string {
	out := make([]string, len(b.Violations))
	for i, w := range b.Violations {
		out[i] = w.Description
		if w.Pointer != "" {
			out[i] = "at " + w.Pointer + " " + w.Description
		}
	}
	return out
}
