// Package webhook posts every change to a URL.
//
// Each change of a key is one request: a CloudEvent (1.0, in structured mode) whose data
// is an events.ConfigurationChanged, signed as Standard Webhooks say. Every change
// arrives at least once, and the changes of a key in the order of its revisions. A request
// that is repeated has the same webhook-id, by which a receiver knows it.
//
// An answer other than 2xx is tried again until it is one. Only an answer that blames
// the event itself parks it: the others do not wait for it.
package webhook

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/stelehq/stele/internal/netaddr"
	"github.com/stelehq/stele/internal/projector"
)

// settings are what the routes say of the sink.
type settings struct {
	// URL is where the events are posted to.
	URL string `json:"url"`
	// Source is the events' "source".
	Source string `json:"source"`
	// Timeout is how long an answer may take, e.g. "5s"; empty means 15s.
	Timeout string `json:"timeout,omitzero"`
}

const (
	defaultTimeout = 15 * time.Second
	maxTimeout     = 30 * time.Second
	// parallel is how many requests wait for answers at a time.
	parallel = 8
	// maxWait bounds how long a receiver may ask to be left alone.
	maxWait = 10 * time.Minute
)

type sink struct {
	url    string
	source string
	keys   string // file
	client *http.Client
	// resume is when the receiver wants to be asked again, in Unix nanoseconds.
	resume atomic.Int64
}

// Fit reports which writes such a sink would reject: none.
func Fit(s projector.Settings) (projector.Fit, error) {
	_, err := read(s)
	return projector.Fit{Refuses: func(projector.Write) error { return nil }}, err
}

// target is what the settings say, parsed.
type target struct {
	settings
	url     *url.URL
	timeout time.Duration
}

func read(s projector.Settings) (t target, err error) {
	t.Source = "stele"
	if err := s.Decode(&t.settings); err != nil {
		return t, err
	}
	wrong := func(format string, args ...any) (target, error) {
		return t, fmt.Errorf("settings of sink %s: %w", s.Name, fmt.Errorf(format, args...))
	}
	t.url, err = url.Parse(t.URL)
	u := t.url
	switch {
	case err != nil || u.Hostname() == "" || u.Fragment != "":
		return wrong("url is %q: it is like https://example.com/hooks/stele", t.URL)
	case u.User != nil:
		return wrong("url has a password in it, and the routes are no secret: requests are signed, so leave it out")
	case u.Scheme != "https" && !(u.Scheme == "http" && netaddr.IsLoopback(u.Hostname())):
		return wrong("url is %s: use https; only this machine's own addresses are allowed without TLS", t.URL)
	case t.Source == "":
		return wrong("source is empty: it identifies the ledger to receivers")
	}
	t.timeout, err = time.ParseDuration(cmp.Or(t.Timeout, defaultTimeout.String()))
	if err != nil || t.timeout <= 0 || t.timeout > maxTimeout {
		return wrong("timeout is %q: it is a time of at most %s, e.g. \"5s\"", t.Timeout, maxTimeout)
	}
	return t, nil
}

// Open requires the sink's keys and a host that the process allows, and calls nothing.
func Open(_ context.Context, s projector.Settings) (projector.Sink, error) {
	t, err := read(s)
	if err != nil {
		return nil, err
	}
	if err := s.Endpoint(t.url.Scheme + "://" + t.url.Host); err != nil {
		return nil, err
	}
	k := &sink{url: t.URL, source: t.Source, keys: s.KeyFile()}
	if _, err := k.readKeys(); err != nil {
		return nil, fmt.Errorf("sink %s: %w", s.Name, err)
	}
	dialer := &net.Dialer{Timeout: t.timeout}
	if !s.PrivateAddresses {
		dialer.Control = refusePrivate
	}
	k.client = &http.Client{
		Timeout: t.timeout,
		// No proxy: it would look up the address, and may reach private ones.
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: t.timeout, MaxIdleConnsPerHost: parallel, IdleConnTimeout: 90 * time.Second,
		},
		// The signature is for this URL alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return k, nil
}

// Limits let each event be a call of its own.
func (k *sink) Limits() projector.Limits { return projector.Limits{Batch: 1, Parallel: parallel} }

// Close closes the connections.
func (k *sink) Close() error {
	k.client.CloseIdleConnections()
	return nil
}

// errUnsent is the outcome of a write that was not sent yet.
var errUnsent = errors.New("the event was not sent")

// Write posts an event for each write, in their order.
func (k *sink) Write(ctx context.Context, writes []projector.Write) ([]error, error) {
	results := make([]error, len(writes))
	for i := range results {
		results[i] = errUnsent
	}
	for i, w := range writes {
		err := k.send(ctx, w)
		if whole, ok := errors.AsType[*wholeError](err); ok {
			if i == 0 {
				return nil, whole
			}
			return results, nil // what was not sent is tried again
		}
		results[i] = err
	}
	return results, nil
}
