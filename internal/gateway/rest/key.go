package rest

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/gateway/reason"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// A key's entity tag is the revision that last set it and the beginning of that commit's
// id: "42-1a2b3c4d5e6f7081". A ledger that was restored from a backup may give the revision
// to another commit.
func etagOf(revision uint64, id []byte) string { return `"` + place(revision, id) + `"` }

// shortID is how many bytes of a commit's id are in tags and in the ids of events.
const shortID = 8

// place names a commit.
func place(revision uint64, id []byte) string {
	if revision == 0 {
		return "0"
	}
	return fmt.Sprintf("%d-%x", revision, id[:min(shortID, len(id))])
}

// parsePlace reads what place has written.
func parsePlace(text string) (revision uint64, id []byte, ok bool) {
	if text == "0" {
		return 0, nil, true
	}
	number, short, _ := strings.Cut(text, "-")
	revision, err := strconv.ParseUint(number, 10, 63)
	if err != nil || revision == 0 {
		return 0, nil, false
	}
	id, err = hex.DecodeString(short)
	return revision, id, err == nil && len(id) == shortID && place(revision, id) == text
}

// matches reports whether a header of entity tags has this one.
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
	expected, err := precondition(r.Header)
	if err != nil {
		fail(w, err)
		return
	}
	if expected != nil {
		expected.Key = key
		req.Preconditions = []*stelev1.Precondition{expected}
	}
	resp, err := a.ledger.Commit(r.Context(), req)
	switch {
	case expected != nil && (reason.Of(err) == reason.PreconditionFailed || reason.Of(err) == reason.HistoryChanged):
		failAs(w, http.StatusPreconditionFailed, err)
		return
	case err != nil:
		fail(w, err)
		return
	}
	if !req.Changes[0].Delete && !resp.Unchanged { // otherwise the revision is not the key's
		w.Header().Set("ETag", etagOf(resp.Revision, resp.Id))
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

// precondition is the commit that a request expects to have set its key, or that the key
// is not set; nil without a condition.
func precondition(h http.Header) (*stelev1.Precondition, error) {
	match, none := etags(h.Values("If-Match")), etags(h.Values("If-None-Match"))
	switch {
	case len(match) == 0 && len(none) == 0:
		return nil, nil
	case len(match) == 0 && len(none) == 1 && none[0] == "*":
		return &stelev1.Precondition{}, nil
	case len(match) == 1 && len(none) == 0:
		text := strings.TrimSuffix(strings.TrimPrefix(match[0], `"`), `"`)
		if revision, id, ok := parsePlace(text); ok && revision > 0 && etagOf(revision, id) == match[0] {
			return &stelev1.Precondition{Revision: revision, CommitId: id}, nil
		}
	}
	return nil, invalid("if-match", `send If-Match with one entity tag that a GET has answered, or If-None-Match: *`)
}
