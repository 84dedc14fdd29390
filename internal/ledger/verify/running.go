package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	catchUpTimeout = 5 * time.Second
	askTimeout     = 10 * time.Second
)

// ErrNoTree: no process that has a tree answers.
var ErrNoTree = errors.New("no process with the role signer answers")

// Seen is what a running process has seen of the journal.
type Seen struct {
	// Tree is of all commits.
	Tree proof.Checkpoint
	// Newest is the newest checkpoint, of size 0 while there is none.
	Newest proof.Checkpoint
}

// seenAnswer is a Seen as it is sent. The checkpoints are as proof.ParseCheckpoint reads them.
type seenAnswer struct {
	Tree   string `json:"tree,omitempty"`
	Newest string `json:"newest,omitempty"`
	Error  string `json:"error,omitempty"`
}

// TreeServer answers backups, until Close.
type TreeServer struct {
	sub    *nats.Subscription
	cancel context.CancelFunc
	// answering is held while a request is answered.
	answering sync.Mutex
}

// ServeTree starts to answer backups about a tree that follows the journal.
func ServeTree(conn *nats.Conn, tree *proof.Tree) (*TreeServer, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &TreeServer{cancel: cancel}
	var err error
	s.sub, err = conn.Subscribe(TreeSubject, func(m *nats.Msg) {
		s.answering.Lock()
		defer s.answering.Unlock()
		if ctx.Err() != nil {
			return
		}
		body, err := json.Marshal(seen(ctx, tree))
		if err == nil {
			_ = m.Respond(body) // a backup that gets no answer reports it
		}
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("subscribe to questions about the tree: %w", err)
	}
	return s, nil
}

// Close stops answering, and waits.
func (s *TreeServer) Close() {
	s.cancel()
	_ = s.sub.Unsubscribe() // fails only when the connection is closed
	s.answering.Lock()
	defer s.answering.Unlock()
}

func seen(ctx context.Context, tree *proof.Tree) seenAnswer {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	newest, _ := tree.Newest() // before the tree, which contains it
	c, err := tree.Seen(ctx)
	if err != nil {
		return seenAnswer{Error: err.Error()}
	}
	return seenAnswer{Tree: c.Text() + "\n", Newest: newest.Note}
}

// AskTree asks a running process what it has seen of the journal that the connection reaches. The
// error is ErrNoTree if no process answers such questions.
func AskTree(ctx context.Context, conn *nats.Conn) (*Seen, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := conn.RequestWithContext(ctx, TreeSubject, nil)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, ErrNoTree
	}
	if err != nil {
		return nil, fmt.Errorf("ask a process with the role signer: %w", err)
	}
	var answer seenAnswer
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, fmt.Errorf("decode the answer of a process with the role signer: %w", err)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("a process with the role signer has no tree: %s", answer.Error)
	}
	s := &Seen{}
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
