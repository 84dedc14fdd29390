package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Ledger writes a client's tenant's settings.
type Ledger struct {
	client *Client

	mu     sync.Mutex // guards the fields below
	conns  map[string]*grpc.ClientConn
	last   string // the address of the last attempt
	failed bool   // it has failed
	closed bool
}

// ChangeSet is what to change: all of it, or nothing.
type ChangeSet struct {
	// Set has the new values of keys, which encoding/json must be able to encode; a
	// json.RawMessage is taken as it is.
	Set map[string]any
	// Delete lists keys to delete.
	Delete []string
	// Message is the reason for the change, for readers of the history.
	Message string
	// Expect has the revisions that must have last set keys; 0: the key must not be
	// set. Entry.Revision is what to expect when a key must not have changed since it
	// was read.
	Expect map[string]uint64
	// ExpectHead, when set, is the tenant's newest revision.
	ExpectHead *uint64
	// RequestID is the change set's own name: a repeated commit of the same name gets
	// the outcome of the first. One is made by default.
	RequestID string
	// AllowEmpty writes a commit also if nothing changes. Otherwise nothing is written
	// if every key has its new value already, and Commit.Unchanged is set.
	AllowEmpty bool
}

// Commit is a change set that is in the ledger.
type Commit struct {
	Revision uint64
	// ID is in hexadecimal.
	ID   string
	Time time.Time
	// Repeated is set if an earlier request with the same id had written it.
	Repeated bool
	// Unchanged is set if nothing changes and nothing was written: the rest is the
	// tenant's newest commit.
	Unchanged bool
	// Visible is set if this client's reads see it.
	Visible bool
}

// Limits of a change set. A gateway rejects larger ones, and the largest already in its
// transport, which does not say whether they were applied.
const (
	maxChanges   = 10_000
	maxChangeSet = 7 << 19 // bytes of keys and values: 3.5 MiB
)

const (
	// callTimeout bounds one attempt to commit.
	callTimeout = 10 * time.Second
	// visibleTimeout bounds how long Commit waits until its own client sees the commit.
	visibleTimeout = time.Second
)

// Set sets one key.
func (l *Ledger) Set(ctx context.Context, key string, value any, message string) (Commit, error) {
	return l.Commit(ctx, ChangeSet{Set: map[string]any{key: value}, Message: message})
}

// Commit writes a change set, and returns when it is durable. An attempt that fails, or
// whose outcome is unknown, is retried with the same request id at any gateway until
// ctx ends, so it is written at most once. Then Commit waits up to a second until the
// client's own reads see the change.
//
// Errors: *ConflictError, *InvalidError, *UnknownError, and the Err values of this
// package.
func (l *Ledger) Commit(ctx context.Context, set ChangeSet) (Commit, error) {
	req, err := set.request()
	if err != nil {
		return Commit{}, fmt.Errorf("commit: %w", err)
	}
	resp, err := l.commit(ctx, req)
	if err != nil {
		return Commit{}, fmt.Errorf("commit: %w", err)
	}
	done := Commit{Revision: resp.Revision, ID: fmt.Sprintf("%x", resp.Id), Time: resp.Time.AsTime(), Repeated: resp.RepeatedRequest, Unchanged: resp.Unchanged}
	ctx, cancel := context.WithTimeout(ctx, visibleTimeout)
	defer cancel()
	done.Visible = l.client.WaitRevision(ctx, done.Revision) == nil
	return done, nil
}

func (s ChangeSet) request() (*stelev1.CommitRequest, error) {
	req := &stelev1.CommitRequest{Message: s.Message, RequestId: s.RequestID, ExpectedHead: s.ExpectHead, AllowEmpty: s.AllowEmpty}
	if req.RequestId == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("make a request id: %w", err)
		}
		req.RequestId = id.String()
	}
	for name, text := range map[string]string{"message": s.Message, "request id": s.RequestID} {
		if !utf8.ValidString(text) {
			return nil, fmt.Errorf("the %s is not valid UTF-8", name)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.Set)) {
		if !utf8.ValidString(key) {
			return nil, fmt.Errorf("the key %q is not valid UTF-8", key)
		}
		value, err := encode(s.Set[key])
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", key, err)
		}
		req.Changes = append(req.Changes, &stelev1.Change{Key: key, Value: value})
	}
	for _, key := range s.Delete {
		if !utf8.ValidString(key) {
			return nil, fmt.Errorf("the key %q is not valid UTF-8", key)
		}
		req.Changes = append(req.Changes, &stelev1.Change{Key: key, Delete: true})
	}
	for _, key := range slices.Sorted(maps.Keys(s.Expect)) {
		req.Preconditions = append(req.Preconditions, &stelev1.Precondition{Key: key, Revision: s.Expect[key]})
	}
	return req, withinLimits(req.Changes)
}

// withinLimits returns an *InvalidError if there are too many changes for a commit.
func withinLimits(changes []*stelev1.Change) error {
	size := 0
	for _, c := range changes {
		size += len(c.Key) + len(c.Value)
	}
	var text string
	switch {
	case len(changes) > maxChanges:
		text = fmt.Sprintf("%d changes are more than %d: split the change set", len(changes), maxChanges)
	case size > maxChangeSet:
		text = fmt.Sprintf("keys and values have %d bytes, more than %d: split the change set", size, maxChangeSet)
	default:
		return nil
	}
	return &InvalidError{
		Violations: []Violation{{"changes", text}},
		err:        status.Error(codes.InvalidArgument, "changes: "+text),
	}
}

// encode leaves "<" and "&" as they are, which json.Marshal does not, and refuses text
// that is not UTF-8, which json.Marshal replaces.
func encode(value any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(value)
	if err == nil && invalidText(reflect.ValueOf(value)) {
		err = errors.New("the value has text that is not valid UTF-8")
	}
	return strings.TrimSuffix(b.String(), "\n"), err
}

// commit asks one gateway after the other.
func (l *Ledger) commit(ctx context.Context, req *stelev1.CommitRequest) (*stelev1.CommitResponse, error) {
	unknown := false
	elsewhere := make(map[string]bool) // gateways that take no writes
	for failed := 0; ; failed++ {
		address := l.choose(elsewhere)
		resp, err := l.attempt(ctx, address, req)
		if err == nil {
			return resp, nil
		}
		switch o := outcomeOf(err); {
		case o == refused && (!unknown || decided(err)):
			return nil, answerError(err)
		case o == refused:
			return nil, &UnknownError{req.RequestId, answerError(err)}
		case o == notHere:
			if elsewhere[address] = true; len(elsewhere) == len(l.client.cfg.Addresses) {
				return nil, answerError(err)
			}
			continue
		case o == lost:
			unknown = true
		}
		select {
		case <-time.After(rand.N(min(50*time.Millisecond<<min(failed, 6), 2*time.Second)) + limitDelay(err)):
			continue
		case <-ctx.Done():
		}
		if unknown {
			return nil, &UnknownError{req.RequestId, answerError(err)}
		}
		return nil, answerError(err)
	}
}

// outcome classifies a failed attempt.
type outcome int

const (
	refused    outcome = iota // it will be refused again
	notHere                   // this gateway takes no writes of the tenant
	notApplied                // trying again may help
	lost                      // it may have been applied
)

func outcomeOf(err error) outcome {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted:
		if r := reason(err); r == "UNAVAILABLE" || r == "OVER_LIMIT" || r == "SHARE_FULL" {
			return notApplied
		} else if r == "ANSWER_TOO_LARGE" {
			return refused
		}
		return lost
	case codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.Unknown, codes.Internal:
		return lost
	case codes.FailedPrecondition:
		if r := reason(err); r == "READ_ONLY" || r == "TENANT_NOT_SERVED" {
			return notHere
		}
	}
	return refused
}

// decided reports whether the rejection of an attempt means that no earlier attempt was
// applied: an applied one would have been answered with its outcome.
func decided(err error) bool {
	_, conflict := detail[*errdetails.PreconditionFailure](err)
	return conflict || status.Code(err) == codes.InvalidArgument
}

func (l *Ledger) attempt(ctx context.Context, address string, req *stelev1.CommitRequest) (*stelev1.CommitResponse, error) {
	conn, err := l.conn(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(l.client.cfg.forTenant(ctx), callTimeout)
	defer cancel()
	resp, err := stelev1.NewLedgerClient(conn).Commit(ctx, req)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.failed = address, err != nil
	return resp, err
}

// choose returns the gateway that has answered the last time, or any other: one that
// has just failed only if no other takes writes.
func (l *Ledger) choose(not map[string]bool) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last != "" && !l.failed && !not[l.last] {
		return l.last
	}
	var others []string
	for _, a := range l.client.cfg.Addresses {
		if !not[a] && a != l.last {
			others = append(others, a)
		}
	}
	if len(others) == 0 {
		return l.last
	}
	return others[rand.IntN(len(others))]
}

func (l *Ledger) conn(address string) (*grpc.ClientConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if conn := l.conns[address]; conn != nil {
		return conn, nil
	}
	if l.closed {
		return nil, status.Error(codes.FailedPrecondition, "the client is closed")
	}
	conn, err := l.client.cfg.dial(address)
	if err != nil {
		return nil, err
	}
	if l.conns == nil {
		l.conns = make(map[string]*grpc.ClientConn)
	}
	l.conns[address] = conn
	return conn, nil
}

func (l *Ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		conn.Close()
	}
	l.conns, l.closed = nil, true
}
