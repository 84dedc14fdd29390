package access

import (
	"context"
	"encoding/csv"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/page"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// readsOnPage is how many records a page shows, at least if there are so many.
	readsOnPage = 100
	// readsSearched is how many records a page looks at.
	readsSearched = 10_000
	// readsExported is how many records an export looks at.
	readsExported = 1_000_000
)

// readsView is a page of recorded reads.
type readsView struct {
	since, until, subject, what, method string // as the form has them
	revealed                            bool

	pattern ledger.Pattern
	records []*stelev1.ReadRecord
	next    string // the next page's address; empty on the last
	problem string
}

func (r *readsView) query() url.Values {
	q := url.Values{"since": {r.since}, "until": {r.until}, "subject": {r.subject}, "what": {r.what}, "method": {r.method}}
	if r.revealed {
		q.Set("revealed", "1")
	}
	return q
}

// request is the part of the filters that the gateway knows.
func (r *readsView) request(v *page.View) (req *stelev1.ListReadsRequest, err error) {
	req = &stelev1.ListReadsRequest{PageSize: 500, PageToken: v.R.FormValue("page")}
	if req.Since, err = timeOf("since", r.since); err != nil {
		return nil, err
	}
	if req.Until, err = timeOf("until", r.until); err != nil {
		return nil, err
	}
	if r.pattern, err = ledger.ParsePattern(r.what); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "key or prefix: %v", err)
	}
	return req, nil
}

func timeOf(field, text string) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	at, err := page.ParseTime(field, text)
	if err != nil {
		return nil, err
	}
	return timestamppb.New(at), nil
}

// selects reports whether the filters select a record.
func (r *readsView) selects(record *stelev1.ReadRecord) bool {
	return strings.Contains(record.Subject, r.subject) && strings.Contains(strings.ToLower(record.Method), strings.ToLower(r.method)) &&
		(!r.revealed || record.Revealed) && r.touches(record)
}

// touches reports whether a record has keys that the pattern selects, or a prefix of them.
func (r *readsView) touches(record *stelev1.ReadRecord) bool {
	if r.what == "" {
		return true
	}
	for _, k := range record.Keys {
		if r.pattern.Match(ledger.Key(k)) {
			return true
		}
	}
	for _, p := range record.Prefixes {
		if r.pattern.Covers(ledger.Pattern(p)) || ledger.Pattern(p).Covers(r.pattern) {
			return true
		}
	}
	return false
}

// showReads shows recorded reads, or exports them.
func showReads(v *page.View) error {
	r := &readsView{since: v.Query("since"), until: v.Query("until"), subject: v.Query("subject"), what: v.Query("what"), method: v.Query("method"), revealed: v.Query("revealed") != ""}
	if !v.R.Form.Has("since") {
		r.since = "24h"
	}
	code := http.StatusOK
	req, err := r.request(v)
	if err == nil && v.R.FormValue("export") != "" {
		return r.export(v, req)
	}
	if err != nil {
		code, r.problem = http.StatusBadRequest, page.Message(err)
	}
	err = v.Load(func(ctx context.Context) error {
		if r.problem != "" {
			return nil
		}
		err := r.read(ctx, v, req, readsSearched, readsOnPage, func(record *stelev1.ReadRecord) error {
			r.records = append(r.records, record)
			return nil
		})
		if page.BadField(err) {
			code, r.problem, err = http.StatusBadRequest, page.Message(err), nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if req != nil && req.PageToken != "" {
		q := r.query()
		q.Set("page", req.PageToken)
		r.next = v.ToNewest("access", "reads") + "?" + q.Encode()
	}
	return v.Show(code, "Recorded reads", v.Command("audit", "reads"), readsPage(v, r))
}

// read yields the records that the filters select, until it has looked at most of them, or has
// yielded enough. The request then has the token of the next page.
func (r *readsView) read(ctx context.Context, v *page.View, req *stelev1.ListReadsRequest, most, enough int, yield func(*stelev1.ReadRecord) error) error {
	selected, looked := 0, 0
	for {
		list, err := v.Ledger.ListReads(ctx, req)
		if err != nil {
			return err
		}
		for _, record := range list.Reads {
			if r.selects(record) {
				selected++
				if err := yield(record); err != nil {
					return err
				}
			}
		}
		req.PageToken = list.NextPageToken
		looked += len(list.Reads)
		if req.PageToken == "" || looked >= most || selected >= enough {
			return nil
		}
	}
}

// export writes the records as CSV, as they are read.
func (r *readsView) export(v *page.View, req *stelev1.ListReadsRequest) error {
	req.PageSize = 1000
	out := csv.NewWriter(v.W)
	begun := false
	begin := func() error {
		begun = true
		h := v.W.Header()
		h.Set("Content-Type", "text/csv; charset=utf-8")
		h.Set("Content-Disposition", `attachment; filename="`+string(v.Tenant)+`-reads.csv"`)
		return out.Write([]string{"time", "subject", "roles", "method", "keys", "prefixes", "revision", "revealed"})
	}
	err := r.read(v.Ctx, v, req, readsExported, readsExported, func(record *stelev1.ReadRecord) error {
		if !begun {
			if err := begin(); err != nil {
				return err
			}
		}
		err := out.Write(row(record))
		out.Flush()
		return err
	})
	switch {
	case err != nil && !begun:
		return err
	case err != nil:
		v.Log.Warn("an export of recorded reads is not complete", "tenant", v.Tenant, "error", err)
		panic(http.ErrAbortHandler) // a truncated file must not look complete
	case !begun:
		err = begin()
	}
	out.Flush()
	return err
}

// row is a record in the export. An edge gateway can write any text into a record.
func row(record *stelev1.ReadRecord) []string {
	revealed := ""
	if record.Revealed {
		revealed = "yes"
	}
	return []string{
		record.Time.AsTime().Format(time.RFC3339Nano), cell(record.Subject), cell(strings.Join(record.Roles, " ")), cell(record.Method),
		cell(strings.Join(record.Keys, " ")), cell(strings.Join(record.Prefixes, " ")), format.Number(record.Revision), revealed,
	}
}

// cell is a text that a spreadsheet does not take for a formula, also not with the wide forms
// of the signs that begin one.
func cell(s string) string {
	first, _ := utf8.DecodeRuneInString(strings.TrimLeft(s, " "))
	if strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
		return "'" + s
	}
	return s
}

// shortMethod is a method without its package: Config/Get.
func shortMethod(m string) string { return strings.TrimPrefix(strings.TrimPrefix(m, "/"), "stele.v1.") }
