package console

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// commitsOnPage is how many commits a page of the history has.
const commitsOnPage = 50

// filters select commits, as the form of the history has them.
type filters struct {
	prefix, key, author, text, since, until string
}

func filtersOf(r *http.Request) filters {
	get := func(name string) string { return strings.TrimSpace(r.FormValue(name)) }
	return filters{get("prefix"), get("key"), get("author"), get("text"), get("since"), get("until")}
}

func (f filters) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"prefix": f.prefix, "key": f.key, "author": f.author, "text": f.text, "since": f.since, "until": f.until} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// request selects commits as the filters say, up to the moment of the visit.
func (f filters) request(v *visit) (*stelev1.ListCommitsRequest, error) {
	req := &stelev1.ListCommitsRequest{PageSize: commitsOnPage, OmitValues: true, Author: f.author, Grep: f.text, Until: v.moment()}
	switch {
	case f.key != "":
		req.Keys = &stelev1.ListCommitsRequest_Key{Key: f.key}
	case f.prefix != "":
		req.Keys = &stelev1.ListCommitsRequest_Prefix{Prefix: f.prefix}
	}
	var err error
	if req.Since, err = momentOf("since", f.since); err != nil {
		return nil, err
	}
	if until, err := momentOf("until", f.until); err != nil {
		return nil, err
	} else if until != nil {
		req.Until = until
	}
	return req, nil
}

// momentOf reads a revision or a time; nil for an empty text.
func momentOf(field, s string) (*stelev1.At, error) {
	if s == "" {
		return nil, nil
	}
	if n, err := strconv.ParseUint(strings.TrimPrefix(s, "@"), 10, 64); err == nil {
		return &stelev1.At{Point: &stelev1.At_Revision{Revision: n}}, nil
	}
	t, err := parseTime(s)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%s: %v; a revision is written as @42", field, err)
	}
	return &stelev1.At{Point: &stelev1.At_Time{Time: timestamppb.New(t)}}, nil
}

// command does the same on the command line.
func (f filters) command(v *visit) command {
	c := command{"-t", string(v.tenant), "log"}
	if f.key != "" {
		c = append(c, f.key)
	} else if f.prefix != "" {
		c = append(c, f.prefix)
	}
	until := f.until
	if until == "" && v.at != 0 {
		until = v.at.String()
	}
	for _, flag := range []struct{ name, value string }{{"--author", f.author}, {"--grep", f.text}, {"--since", f.since}, {"--until", until}} {
		if flag.value != "" {
			c = append(c, flag.name, flag.value)
		}
	}
	return c
}

// showHistory shows commits, newest first.
func (c *Console) showHistory(v *visit) error {
	f := filtersOf(v.r)
	req, err := f.request(v)
	problem := ""
	if err != nil {
		problem = statusMessage(err)
	} else {
		req.PageToken = v.r.FormValue("page")
	}
	list := &stelev1.ListCommitsResponse{}
	err = v.load(func(ctx context.Context) error {
		if problem != "" {
			return nil
		}
		got, err := c.ledger.ListCommits(ctx, req)
		switch status.Code(err) {
		case codes.OK:
			list = got
		case codes.InvalidArgument, codes.OutOfRange:
			problem, err = statusMessage(err), nil
		}
		return err
	})
	if err != nil {
		return err
	}
	code := http.StatusOK
	if problem != "" {
		code = http.StatusBadRequest
	}
	next := ""
	if list.NextPageToken != "" {
		q := f.query()
		q.Set("page", list.NextPageToken)
		next = v.to("history", "") + "?" + q.Encode()
	}
	return v.show(code, "History", f.command(v), historyPage(v, f, list.Commits, next, problem))
}

// keysShown is how many of a commit's keys its line in the history names.
const keysShown = 3

func namedChanges(c *stelev1.Commit) []*stelev1.Change {
	return c.Changes[:min(len(c.Changes), keysShown)]
}

// originOf says where a commit came from, when it was not an ordinary write.
func originOf(o *stelev1.Origin) string {
	switch k := o.GetKind().(type) {
	case *stelev1.Origin_Import:
		return "import"
	case *stelev1.Origin_Rollback:
		text := "rollback to " + ledger.Revision(k.Rollback.Revision).String()
		if k.Rollback.Prefix != "" {
			text += " of " + k.Rollback.Prefix
		}
		return text
	case *stelev1.Origin_Revert:
		names := make([]string, len(k.Revert.Revisions))
		for i, r := range k.Revert.Revisions {
			names[i] = ledger.Revision(r).String()
		}
		return "revert of " + strings.Join(names, ", ")
	case *stelev1.Origin_Drift:
		return "taken over from " + k.Drift.Sink
	}
	return ""
}
