package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/projector"
	"github.com/stelehq/stele/internal/projector/internal/change"
	"github.com/stelehq/stele/schemas/events"
)

// cloudEvent is a CloudEvent in JSON: https://github.com/cloudevents/spec, version 1.0.
type cloudEvent struct {
	SpecVersion     string                      `json:"specversion"`
	ID              string                      `json:"id"`
	Source          string                      `json:"source"`
	Type            string                      `json:"type"`
	Subject         string                      `json:"subject"`
	Time            time.Time                   `json:"time"`
	DataContentType string                      `json:"datacontenttype"`
	Data            events.ConfigurationChanged `json:"data"`
}

// encode returns the event's id and body, without its value if that is too large.
func (k *sink) encode(data events.ConfigurationChanged) (id string, body []byte, err error) {
	e := cloudEvent{
		SpecVersion: "1.0", ID: data.CommitID + "-" + strconv.Itoa(data.Position), Source: k.source, Type: events.CloudEventType,
		Subject: data.Tenant + "/" + data.Key, Time: data.Time, DataContentType: "application/json", Data: data,
	}
	body, err = json.Marshal(e, jsontext.PreserveRawStrings(true))
	switch {
	case err != nil && len(data.Value) > 0: // it is nested as deep as JSON may be, and is deeper in the event
		return k.encode(change.Without(data, events.Refused))
	case err != nil:
		return "", nil, projector.Refuse("encode the event: %v", err)
	case len(body) > change.MaxEvent && len(data.Value) > 0:
		return k.encode(change.Without(data, events.TooLarge))
	}
	return e.ID, body, nil
}

// wholeError says that the receiver does not answer, or wants less.
type wholeError struct{ error }

func (e *wholeError) Unwrap() error { return e.error }

// send posts one event.
func (k *sink) send(ctx context.Context, w projector.Write) error {
	if wait := time.Until(time.Unix(0, k.resume.Load())); wait > 0 {
		return &wholeError{fmt.Errorf("%s asks to wait another %s", k.url, wait.Round(time.Second))}
	}
	data := change.Of(w)
	status, reason, err := k.post(ctx, data)
	if status == http.StatusRequestEntityTooLarge && len(data.Value) > 0 {
		status, reason, err = k.post(ctx, change.Without(data, events.TooLarge))
	}
	if err != nil {
		if _, refused := errors.AsType[*projector.RefusedError](err); refused {
			return err
		}
		return &wholeError{err}
	}
	switch why := fmt.Sprintf("%s answers %d %s%s", k.url, status, http.StatusText(status), reason); {
	case status/100 == 2:
		return nil
	case status/100 == 3:
		return &wholeError{fmt.Errorf("%s: redirects are not followed; set url to where it leads", why)}
	case blamesEvent[status]:
		return projector.Refuse("%s", why)
	default:
		return &wholeError{errors.New(why)}
	}
}

// blamesEvent are the answers that say that the event is wrong. Any other may be
// different the next time, for example once the receiver has the key.
var blamesEvent = map[int]bool{
	http.StatusBadRequest:            true,
	http.StatusRequestEntityTooLarge: true,
	http.StatusUnsupportedMediaType:  true,
	http.StatusUnprocessableEntity:   true,
}

// post makes the request. The reason is what the answer says, and begins with ": ".
func (k *sink) post(ctx context.Context, data events.ConfigurationChanged) (status int, reason string, err error) {
	id, body, err := k.encode(data)
	if err != nil {
		return 0, "", err
	}
	keys, err := k.readKeys()
	if err != nil {
		return 0, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	now := time.Now()
	req.Header.Set("Content-Type", "application/cloudevents+json")
	req.Header.Set("User-Agent", "stele")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("Webhook-Signature", signatures(keys, id, now, body))
	resp, err := k.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	if text = bytes.TrimSpace(text); len(text) > 0 {
		reason = ": " + strings.ToValidUTF8(string(text), "?")
	}
	k.applyRetryAfter(resp, now)
	return resp.StatusCode, reason, nil
}

// applyRetryAfter notes how long the receiver asks callers to wait.
func (k *sink) applyRetryAfter(resp *http.Response, now time.Time) {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return
	}
	var wait time.Duration
	after := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(after); err == nil {
		wait = time.Duration(min(seconds, int(maxWait.Seconds()))) * time.Second
	} else if at, err := http.ParseTime(after); err == nil {
		wait = min(at.Sub(now), maxWait)
	}
	if wait > 0 {
		k.resume.Store(now.Add(wait).UnixNano())
	}
}
