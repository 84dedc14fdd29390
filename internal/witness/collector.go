package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/stelehq/stele/internal/ledger/proof"
	"golang.org/x/mod/sumdb/tlog"
)

// Tree is what checkpoints are signed from: proof.Tree.
type Tree interface {
	Newest() (proof.Signed, <-chan struct{})
	Consistency(old, new int64) (tlog.TreeProof, error)
	Compare(signed string) error
}

// CollectorConfig defines which witnesses to ask.
type CollectorConfig struct {
	URLs []string
	// Keys of the witnesses. Cosignatures of other keys are dropped.
	Keys proof.Witnesses
	Tree Tree
	Log  *slog.Logger
	HTTP *http.Client
	// Memory is a file that keeps the newest cosignature of each witness when the process
	// ends; empty to keep none.
	Memory string
	// Retry is the time until a witness that failed is asked again; 0 for 10 seconds.
	Retry time.Duration
}

// askTimeout bounds how long a witness has for a checkpoint.
const askTimeout = 10 * time.Second

// Collector asks witnesses to cosign each new checkpoint, until Close. Nothing waits for
// it but those who ask for cosigned checkpoints: a witness that does not answer delays no write.
type Collector struct {
	cfg    CollectorConfig
	memory *memory
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu sync.Mutex // guards what follows
	// newest has at n-1 the newest checkpoint with at least n cosignatures.
	newest []proof.Signed
	// lines are the cosignatures of the checkpoint that was asked about last.
	at      proof.Signed
	lines   map[string]string // by the witness's key
	changed chan struct{}
}

// Collect starts asking. The error reports that the memory cannot be read.
func Collect(cfg CollectorConfig) (*Collector, error) {
	m, err := openMemory(cfg.Memory)
	if err != nil {
		return nil, err
	}
	if cfg.Retry == 0 {
		cfg.Retry = 10 * time.Second
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Collector{cfg: cfg, memory: m, cancel: cancel, newest: make([]proof.Signed, len(cfg.Keys.Keys)), changed: make(chan struct{})}
	for _, url := range cfg.URLs {
		size := m.size(url, cfg.Keys)
		a := &asked{c: c, client: Client{url, cfg.HTTP}, size: size, cosigned: size}
		c.done.Go(func() { a.run(ctx) })
	}
	return c, nil
}

// Close stops asking.
func (c *Collector) Close() {
	c.cancel()
	c.done.Wait()
	c.cfg.HTTP.CloseIdleConnections()
}

// Newest is the newest checkpoint with at least n cosignatures, of size 0 while there is
// none. The channel is closed when there is a newer one.
func (c *Collector) Newest(n int) (proof.Signed, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n < 1 || n > len(c.newest) {
		return proof.Signed{}, c.changed
	}
	return c.newest[n-1], c.changed
}

// Witnesses is how many witnesses there are.
func (c *Collector) Witnesses() int { return len(c.cfg.Keys.Keys) }

// add takes the cosignatures of a checkpoint.
func (c *Collector) add(at proof.Signed, got []proof.Cosignature) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case at.Size < c.at.Size:
		return // others have cosigned a newer one meanwhile
	case at.Note != c.at.Note:
		c.at, c.lines = at, make(map[string]string)
	}
	for _, g := range got {
		c.lines[g.Witness.String()] = g.Line
	}
	signed := at
	for _, k := range c.cfg.Keys.Keys { // in one order
		signed.Note += c.lines[k.String()]
	}
	for n := range len(c.lines) {
		c.newest[n] = signed
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// asked is one witness. One goroutine owns it.
type asked struct {
	c      *Collector
	client Client
	// size of the newest checkpoint that the witness has cosigned, as far as we know, and
	// cosigned the size of the newest that it has cosigned for us.
	size, cosigned int64
	failed         string // what was logged last
}

func (a *asked) run(ctx context.Context) {
	for ctx.Err() == nil {
		at, changed := a.c.cfg.Tree.Newest()
		var again <-chan time.Time
		if at.Size > 0 {
			bounded, cancel := context.WithTimeout(ctx, askTimeout)
			err := a.ask(bounded, at)
			cancel()
			if a.log(ctx, at, err); err != nil {
				again = time.After(a.c.cfg.Retry)
				changed = nil // a witness that fails is not asked for each checkpoint
			}
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
		}
	}
}

// log reports when a witness starts failing, fails otherwise, or works again.
func (a *asked) log(ctx context.Context, at proof.Signed, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if ctx.Err() != nil || text == a.failed {
		return
	}
	a.failed = text
	if err == nil {
		a.c.cfg.Log.Info("the witness cosigns checkpoints", "witness", a.client.URL, "size", at.Size)
		return
	}
	a.c.cfg.Log.Warn("the witness has not cosigned the newest checkpoint; retrying", "witness", a.client.URL, "size", at.Size, "error", err)
}

// ask requests a cosignature of a checkpoint. The witness answers a first try with the
// size of the checkpoint that it cosigned last.
func (a *asked) ask(ctx context.Context, at proof.Signed) error {
	for range 3 {
		if a.size > at.Size {
			return a.compare(ctx, at)
		}
		var path tlog.TreeProof
		if a.size > 0 && a.size < at.Size {
			var err error
			if path, err = a.c.cfg.Tree.Consistency(a.size, at.Size); err != nil {
				return err
			}
		}
		lines, err := a.client.Add(ctx, a.size, path, at.Note)
		var other *SizeError
		switch {
		case err == nil:
			return a.cosign(at, lines)
		case errors.As(err, &other) && other.Size < a.cosigned:
			return fmt.Errorf("the witness has forgotten what it has cosigned: its newest checkpoint has the size %d, and it has cosigned one of %d: restore its file, or replace it by a witness with another key", other.Size, a.cosigned)
		case errors.As(err, &other) && other.Size != a.size:
			a.size = other.Size
		case errors.Is(err, ErrInconsistent):
			return errors.Join(err, a.compare(ctx, at))
		default:
			return err
		}
	}
	return fmt.Errorf("the witness %s answers each time with another size", a.client.URL)
}

// cosign keeps the cosignatures that verify.
func (a *asked) cosign(at proof.Signed, lines string) error {
	got, err := a.c.cfg.Keys.Cosignatures(at.Note + lines)
	if err != nil || len(got) == 0 {
		return fmt.Errorf("the witness %s has not cosigned with a key of --witness-key: %.200q: %w", a.client.URL, lines, errors.Join(err, errNoCosignature))
	}
	if err := a.c.memory.keep(a.client.URL, at.Note+lines); err != nil {
		return err
	}
	a.size, a.cosigned = at.Size, at.Size
	a.c.add(at, got)
	return nil
}

var errNoCosignature = errors.New("no valid cosignature")

// compare reads what the witness has cosigned instead: a checkpoint that the ledger's
// key has signed and that is not in our tree is evidence of a split view.
func (a *asked) compare(ctx context.Context, at proof.Signed) error {
	theirs, err := a.client.Newest(ctx, at.Origin())
	if err != nil {
		return err
	}
	if err := a.c.cfg.Tree.Compare(theirs); err != nil {
		return fmt.Errorf("the witness %s has cosigned another checkpoint: %w", a.client.URL, err)
	}
	a.size = 0 // it is ours, from another process that signs; the witness says where it is
	return nil
}
