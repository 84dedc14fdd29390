// Package verify verifies a stopped ledger, the folder of "stele up", against the
// signatures of its public key.
//
// The journal is copied and read on the copy, message by message, from the first to the
// last. Every tenant's commits must be one chain, the tree must have the roots that the
// checkpoints state, the recorded reads must have the digests that commits state, and
// the files that are derived from the journal, the tree's and the replica's, must match
// it. Nothing in the folder is changed.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/proof"
	"github.com/stelehq/stele/internal/ledger/replica"
)

// Config defines what to verify.
type Config struct {
	// Dir is the ledger's folder.
	Dir string
	// Key of the ledger.
	Key proof.Verifier
	// From are checkpoints, verified, that the ledger must extend.
	From []proof.Checkpoint
	// Restored is set if the ledger was made of a backup and has not run yet: the files
	// that are made from the journal may be missing.
	Restored bool
	// Seen, if set, is called from time to time with the number of commits read since the
	// last call. Calls are not concurrent.
	Seen func(commits int)
}

// Report is the result of a verification.
type Report struct {
	Epoch       ledger.Epoch
	Tenants     int
	Messages    int
	Commits     int
	Checkpoints int
	Reads       int // recorded reads
	// ReadsBound is how many of them, from the first on, the history has a digest of.
	ReadsBound int
	// Ahead is the number of commits that are later than the journal's stamp of their message by
	// more than ledger.ClockBound, and FirstAhead says which is the first; nil for none. A process
	// wrote them while its clock was ahead, which does not make the ledger invalid.
	Ahead      int
	FirstAhead *Finding
	// Findings are what does not verify; none when all is well.
	Findings []Finding

	mu sync.Mutex
}

// Finding is one thing that does not verify.
type Finding struct {
	// Where is the stream or the file.
	Where string `json:"where"`
	// Tenant and Revision of the commit that it is about, if it is about one.
	Tenant   ledger.Tenant   `json:"tenant,omitempty"`
	Revision ledger.Revision `json:"revision,omitempty"`
	What     string          `json:"what"`
}

func (f Finding) String() string {
	if f.Tenant == "" {
		return f.Where + ": " + f.What
	}
	return fmt.Sprintf("%s: %s%s: %s", f.Where, f.Tenant, f.Revision, f.What)
}

func (r *Report) find(where, format string, args ...any) {
	r.add(Finding{Where: where, What: fmt.Sprintf(format, args...)})
}

func (r *Report) add(f Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Findings = append(r.Findings, f)
}

// Ledger verifies the folder. The error means that verification is impossible: the
// ledger is running, or the folder does not contain a ledger. Findings are in the
// report.
func Ledger(ctx context.Context, cfg Config) (*Report, error) {
	v := &verifier{cfg: cfg, report: &Report{}}
	if v.cfg.Seen == nil {
		v.cfg.Seen = func(int) {}
	}
	stop, err := v.open(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	if v.evidence == nil {
		return v.report, nil // reading cannot continue
	}
	if err := v.readCheckpoints(ctx); err != nil {
		return nil, err
	}
	if err := v.run(ctx); err != nil {
		return nil, err
	}
	return v.report, nil
}

// verifier is one run.
type verifier struct {
	cfg    Config
	report *Report
	// evidence is nil if the journal cannot be opened.
	evidence evidence
	// tree and content of the replica; nil without a file to compare with.
	tree    *proof.Stored
	replica *replicated
	// checkpoints in their order.
	checkpoints []placed
	// running are claims of a process that runs, about a backup.
	running []claim
}

// evidence is what is verified: it hands over the messages of a stream, and reports its
// faults as *journal.EvidenceError.
type evidence interface {
	Journal(ctx context.Context, handle func(journal.Message) error) (ledger.Sequence, error)
	AuxStream(ctx context.Context, kind journal.AuxKind, handle func(name string, seq ledger.Sequence, body []byte) error) (ledger.Sequence, error)
}

// placed is a checkpoint and its sequence in the stream of checkpoints.
type placed struct {
	proof.Checkpoint
	sequence ledger.Sequence
}

// open starts a server on a copy of the journal and opens the other files.
func (v *verifier) open(ctx context.Context) (stop func(), err error) {
	var undo []func()
	stop = func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	// The replica's file takes longest, and needs nothing of the rest.
	read := make(chan replicaResult, 1)
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	reading.Go(func() { read <- readReplica(ctx, filepath.Join(v.cfg.Dir, replicaFile)) })
	undo = append(undo, func() {
		cancel()
		reading.Wait()
	})
	dir, err := os.MkdirTemp("", "stele-verify-")
	if err != nil {
		return stop, err
	}
	undo = append(undo, func() { os.RemoveAll(dir) })
	if err := journal.CopyStopped(filepath.Join(v.cfg.Dir, "journal"), dir); err != nil {
		return stop, err
	}
	server, err := journal.StartServer(journal.ServerConfig{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		v.report.find("journal", "the nats-server does not start on it: %v", err)
		return stop, nil
	}
	undo = append(undo, server.Close)
	nc, err := server.Connect()
	if err != nil {
		return stop, err
	}
	undo = append(undo, nc.Close)
	opened, err := journal.OpenEvidence(ctx, nc)
	if err := v.evident(err); err != nil || opened == nil {
		return stop, err
	}
	v.evidence, v.report.Epoch = opened, opened.Epoch
	if proof.KeyName(opened.Epoch) != v.cfg.Key.Name() {
		return stop, fmt.Errorf("%w: the folder is of %s, and the key of %s", proof.ErrOtherLedger, proof.KeyName(opened.Epoch), v.cfg.Key.Name())
	}
	if err := v.openTree(); err != nil {
		return stop, err
	}
	if v.tree != nil {
		undo = append(undo, func() { v.tree.Close() })
	}
	return stop, v.openReplica(<-read)
}

// evident turns the fault of a stream into a finding.
func (v *verifier) evident(err error) error {
	var broken *journal.EvidenceError
	if errors.As(err, &broken) {
		v.report.find(broken.Stream, "%s", broken.Reason)
		return nil
	}
	return err
}

const (
	treeFile    = "tree.db"
	replicaFile = "replica.db"
)

func (v *verifier) openTree() error {
	w, err := proof.OpenStored(filepath.Join(v.cfg.Dir, treeFile))
	switch {
	case v.cfg.Restored && errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrNotExist), proof.IsDamage(err):
		v.report.find(treeFile, "%v", err)
		return nil
	case err != nil:
		return err
	}
	if w.Epoch() != v.report.Epoch {
		v.report.find(treeFile, "it is of the ledger %s", w.Epoch())
		return w.Close()
	}
	v.tree = w
	return nil
}

func (v *verifier) openReplica(r replicaResult) error {
	switch {
	case v.cfg.Restored && errors.Is(r.err, fs.ErrNotExist):
		return nil
	case errors.Is(r.err, fs.ErrNotExist), replica.IsDamage(r.err):
		v.report.find(replicaFile, "%v", r.err)
	case r.err != nil:
		return r.err
	case r.Epoch != v.report.Epoch:
		v.report.find(replicaFile, "it is of the ledger %s", r.Epoch)
	default:
		v.replica = &r.replicated
	}
	return nil
}

// run reads everything except the checkpoints.
func (v *verifier) run(ctx context.Context) error {
	w := v.newWalk()
	if err := v.walkJournal(ctx, w); err != nil {
		return err
	}
	if err := v.readReads(ctx, w.bound); err != nil {
		return err
	}
	v.report.Ahead, v.report.FirstAhead = w.ahead, w.firstAhead
	v.report.Messages, v.report.Commits, v.report.Tenants = w.messages, int(w.roots.Size()), len(w.tenants)
	if v.tree != nil && w.whole {
		if err := v.tree.NothingMore(); err != nil {
			v.report.find(treeFile, "%v", err)
		}
	}
	if v.replica != nil && w.whole {
		v.replica.compare(v.report, w)
	}
	return nil
}
