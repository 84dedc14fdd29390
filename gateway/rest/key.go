package rest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// A key's entity tag is the revision that last set it: "42".
func etagOf(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// matches says whether a header of entity tags has this one.
func matches(header []string, etag string) bool {
	tags := etags(header)
	return slices.Contains(tags, etag) || slices.Contains(tags, "W/"+etag) || slices.Contains(tags, "*")
}

func etags(header []string) []string {
	var tags []string
	for _, t := range strings.Split(strings.Join(header, ","), ",") {
		if t = strings.TrimSpace(t); t != "" {
			tags = append(tags, t)
		}
	}
	return tags
}

// setKey makes a change set of one change: PUT sets the key to the body, DELETE
// deletes it. If-Match and If-None-Match are its precondition.
func (a *api) setKey(w http.ResponseWriter, r *http.Request, key string, values url.Values, body []byte) {
	req := &stelev1.CommitRequest{Changes: []*stelev1.Change{{Key: key, Delete: r.Method == http.MethodDelete}}}
	for name, to := range map[string]*string{"message": &req.Message, "request_id": &req.RequestId} {
		if len(values[name]) > 1 {
			fail(w, invalid(name, "it is there more than once"))
			return
		}
		*to = values.Get(name)
		delete(values, name)
	}
	for name := range values {
		fail(w, invalid(shorten(name), "there is no such parameter"))
		return
	}
	value := jsontext.Value(bytes.TrimSpace(body))
	switch {
	case req.Changes[0].Delete && len(value) > 0:
		fail(w, invalid("body", "a key is deleted without one"))
		return
	case !req.Changes[0].Delete && !value.IsValid():
		fail(w, invalid("body", "it must be one JSON value"))
		return
	}
	req.Changes[0].Value = string(value)
	expected, conditional, err := precondition(r.Header)
	if err != nil {
		fail(w, err)
		return
	}
	if conditional {
		req.Preconditions = []*stelev1.Precondition{{Key: key, Revision: expected}}
	}
	resp, err := a.ledger.Commit(r.Context(), req)
	switch {
	case err != nil && conditional && reason(err) == "PRECONDITION_FAILED":
		failAs(w, http.StatusPreconditionFailed, err)
		return
	case err != nil:
		fail(w, err)
		return
	}
	if !req.Changes[0].Delete && !resp.Unchanged { // otherwise the revision is not the key's
		w.Header().Set("ETag", etagOf(resp.Revision))
	}
	reply(w, resp)
}

func reply(w http.ResponseWriter, resp *stelev1.CommitResponse) {
	body, err := encode(resp)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Location", fmt.Sprintf("/v1/commits/%d", resp.Revision))
	w.Write(body)
}

// precondition is the revision that a request requires of its key; 0 is absent.
func precondition(h http.Header) (revision uint64, conditional bool, err error) {
	match, none := etags(h.Values("If-Match")), etags(h.Values("If-None-Match"))
	switch {
	case len(match) == 0 && len(none) == 0:
		return 0, false, nil
	case len(match) == 0 && len(none) == 1 && none[0] == "*":
		return 0, true, nil
	case len(match) == 1 && len(none) == 0:
		text := strings.TrimSuffix(strings.TrimPrefix(match[0], `"`), `"`)
		if revision, err := strconv.ParseUint(text, 10, 64); err == nil && revision > 0 && etagOf(revision) == match[0] {
			return revision, true, nil
		}
	}
	return 0, false, invalid("if-match", `send If-Match with one entity tag that a GET has answered, or If-None-Match: *`)
}
