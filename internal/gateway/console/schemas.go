package console

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// schemaRoot begins the keys of schemas.
const schemaRoot = "_schema/"

// schemaView is the schema of a prefix, and the values that a candidate for it would
// violate.
type schemaView struct {
	prefix        string
	own, platform *stelev1.Schema       // nil without one
	live          *stelev1.BrokenValues // existing values that violate their schemas; nil if not checked
	candidate     *stelev1.BrokenValues // those that the candidate would break; nil before it is checked
	form          writeForm
	allow         bool // the candidate is set although live values break it
}

func (s *schemaView) revision() uint64 { return s.own.GetRevision() }

// schemasPages are the pages of schemas: all of them, and the schema of a prefix.
func (c *Console) schemasPages(v *visit) error {
	switch get := v.r.Method != http.MethodPost; {
	case get && v.rest == "" && v.r.FormValue("prefix") != "":
		prefix := strings.Trim(v.r.FormValue("prefix"), "/ ")
		if _, err := ledger.ParseKey(schemaRoot + prefix); err != nil {
			return status.Error(codes.InvalidArgument, "prefix: "+err.Error())
		}
		return v.redirect(place{tenant: v.tenant}.to("schemas", prefix))
	case get && v.rest == "":
		return c.showSchemas(v)
	case get:
		return c.showSchema(v, http.StatusOK, &schemaView{form: writeForm{name: uuid.NewString()}})
	case v.rest != "":
		return c.decideSchema(v)
	}
	return errNoPlace
}

func (c *Console) showSchemas(v *visit) error {
	list := &stelev1.ListSchemasResponse{}
	live := &stelev1.CheckLiveResponse{}
	err := v.load(func(ctx context.Context) (err error) {
		list, err = c.schemas.ListSchemas(ctx, &stelev1.ListSchemasRequest{At: v.moment()})
		return err
	}, func(ctx context.Context) (err error) {
		if live, err = c.schemas.CheckLive(ctx, &stelev1.CheckLiveRequest{}); status.Code(err) == codes.PermissionDenied {
			err = nil // a user with access to a part only does not get the whole
		}
		return err
	})
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "Schemas", v.command("schema", "list"), schemasPage(v, list.Schemas, live.GetBroken()))
}

// showSchema shows a prefix's schema, and the form that sets it.
func (c *Console) showSchema(v *visit, code int, s *schemaView) error {
	s.prefix = v.rest
	if _, err := ledger.ParseKey(schemaRoot + s.prefix); err != nil {
		return errNoPlace
	}
	err := v.load(func(ctx context.Context) error {
		list, err := c.schemas.ListSchemas(ctx, &stelev1.ListSchemasRequest{Prefix: s.prefix, At: v.moment()})
		for _, found := range list.GetSchemas() {
			if found.Prefix == s.prefix && found.Platform {
				s.platform = found
			} else if found.Prefix == s.prefix {
				s.own = found
			}
		}
		return err
	}, func(ctx context.Context) error {
		live, err := c.schemas.CheckLive(ctx, &stelev1.CheckLiveRequest{Prefix: s.prefix})
		s.live = live.GetBroken()
		if status.Code(err) == codes.PermissionDenied {
			err = nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if s.form.value == "" {
		s.form.value, s.form.expected = pretty(cmp.Or(s.own.GetDocument(), "{}")), s.revision()
	}
	return v.show(code, "Schema of "+s.prefix, v.command("schema", "set", s.prefix, "-f", "FILE"), schemaPage(v, s))
}

// decideSchema holds the live values against a candidate, or sets it.
func (c *Console) decideSchema(v *visit) error {
	f := formOf(v.r)
	f.key = schemaRoot + v.rest
	s := &schemaView{form: f, allow: v.r.PostFormValue("allow") != ""}
	var err error
	if v.r.PostFormValue("do") == "check" {
		var got *stelev1.CheckSchemaResponse
		if got, err = c.schemas.CheckSchema(v.ctx, &stelev1.CheckSchemaRequest{Prefix: v.rest, Document: compact(f.value)}); err == nil {
			s.candidate = got.Broken
			return c.showSchema(v, http.StatusOK, s)
		}
	} else {
		var done *stelev1.CommitResponse
		done, err = c.ledger.Commit(v.ctx, &stelev1.CommitRequest{
			Changes:       []*stelev1.Change{{Key: f.key, Value: compact(f.value)}},
			Preconditions: []*stelev1.Precondition{f.precondition()},
			Message:       f.message, AllowInvalid: s.allow, RequestId: f.requestID("schema " + strconv.FormatBool(s.allow)),
		})
		if err == nil {
			return v.redirect(place{tenant: v.tenant}.to("schemas", v.rest) + "?written=" + revisionOf(done.Revision))
		}
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.Unavailable, codes.DeadlineExceeded:
		s.form.problem = statusMessage(err)
		return c.showSchema(v, troubleOf(err).status, s)
	}
	return err
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
