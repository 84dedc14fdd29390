package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stelehq/stele/internal/ledger/proof"
)

// TreeSubject is where a backup asks the processes that have a tree what they have seen.
const TreeSubject = "stele.tree.v1"

const (
	// catchUpTimeout is how long a process may take until its tree has the commits that the
	// journal has, and askTimeout how long a backup waits for the answer.
	catchUpTimeout = 4 * time.Second
	askTimeout     = 10 * time.Second
	// answersAtOnce is how many questions a process answers at a time. As many more wait, which
	// are answered before their askTimeout, and any others are refused.
	answersAtOnce = 4
)

// ErrNoTree: no process that has a tree receives the question.
var ErrNoTree = errors.New("no process with the role signer answers: start one, or give its NATS user the permission to subscribe to " + TreeSubject + ", which stele nats-permissions prints")

// Seen is what a running process has seen of the journal.
type Seen struct {
	// Tree is of all commits.
	Tree proof.Checkpoint
	// Verified reports whether the process has compared the newest checkpoint with its tree since
	// it started. Newest is that checkpoint, of size 0 if the ledger had none.
	Verified bool
	Newest   proof.Checkpoint
}

// seenAnswer is a Seen as it is sent. The checkpoints are as proof.ParseCheckpoint reads them.
type seenAnswer struct {
	Tree     string `json:"tree,omitempty"`
	Verified bool   `json:"verified,omitempty"`
	Newest   string `json:"newest,omitempty"`
	Error    string `json:"error,omitempty"`
}

// TreeServer answers backups, until Close.
type TreeServer struct {
	tree    *proof.Tree
	sub     *nats.Subscription
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// ServeTree starts to answer backups about a tree that follows the journal.
func ServeTree(conn *nats.Conn, tree *proof.Tree) (*TreeServer, error) {
	questions := make(chan *nats.Msg, answersAtOnce)
	sub, err := conn.Subscribe(TreeSubject, func(m *nats.Msg) {
		if m.Reply == "" {
			return
		}
		select {
		case questions <- m:
		default:
			respond(m, seenAnswer{Error: "it is answering too many other questions; try again"})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to questions about the tree: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &TreeServer{tree: tree, sub: sub, cancel: cancel}
	for range answersAtOnce {
		s.running.Go(func() { s.answer(ctx, questions) })
	}
	return s, nil
}

// answer answers one question after the other until ctx ends.
func (s *TreeServer) answer(ctx context.Context, questions <-chan *nats.Msg) {
	for {
		select {
		case m := <-questions:
			if a := s.seen(ctx); ctx.Err() == nil {
				respond(m, a)
			}
		case <-ctx.Done():
			return
		}
	}
}

func respond(to *nats.Msg, a seenAnswer) {
	if body, err := json.Marshal(a); err == nil {
		_ = to.Respond(body) // a backup that gets no answer reports it
	}
}

// Close stops answering, and waits.
func (s *TreeServer) Close() {
	_ = s.sub.Unsubscribe() // fails only when the connection is closed
	s.cancel()
	s.running.Wait()
}

func (s *TreeServer) seen(ctx context.Context) seenAnswer {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	c, err := s.tree.Seen(ctx)
	if err != nil {
		return seenAnswer{Error: err.Error()}
	}
	verified := s.tree.Verified() // before the checkpoint, which is there if it is true
	newest, _ := s.tree.Newest()
	return seenAnswer{Tree: c.Text() + "\n", Verified: verified, Newest: newest.Note}
}

// AskTree asks a running process what it has seen of the journal that the connection reaches. The
// error wraps ErrNoTree if no process receives such questions, and nats.ErrPermissionViolation if
// the connection's user is not allowed to ask them.
func AskTree(ctx context.Context, conn *nats.Conn) (*Seen, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := ask(ctx, conn)
	if err != nil {
		return nil, err
	}
	var answer seenAnswer
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, fmt.Errorf("decode the answer of a process with the role signer: %w", err)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("a process with the role signer cannot tell what it has seen: %s", answer.Error)
	}
	s := &Seen{Verified: answer.Verified}
	if s.Tree, err = proof.ParseCheckpoint(answer.Tree); err != nil {
		return nil, err
	}
	if answer.Newest != "" {
		if s.Newest, err = proof.ParseCheckpoint(answer.Newest); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// ask sends the question. A server does not answer one that it forbids: it reports an error of the
// connection, and does that before it answers the ping of a flush.
func ask(ctx context.Context, conn *nats.Conn) (*nats.Msg, error) {
	answers, err := conn.SubscribeSync(conn.NewInbox())
	if err != nil {
		return nil, fmt.Errorf("ask a process with the role signer: %w", err)
	}
	defer answers.Unsubscribe() // fails only when the connection is closed
	if err := errors.Join(conn.PublishRequest(TreeSubject, answers.Subject, nil), conn.FlushWithContext(ctx)); err != nil {
		return nil, fmt.Errorf("ask a process with the role signer: %w", err)
	}
	last := conn.LastError()
	if errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), strconv.Quote(TreeSubject)) {
		return nil, fmt.Errorf("ask a process with the role signer: %w: give the user the permissions of the role backup that stele nats-permissions prints", last)
	}
	m, err := answers.NextMsgWithContext(ctx)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, ErrNoTree
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("a process with the role signer received the question, and did not answer within %s: its log has the reason: %w", askTimeout, err)
	case err != nil:
		return nil, fmt.Errorf("ask a process with the role signer: %w", err)
	}
	return m, nil
}
