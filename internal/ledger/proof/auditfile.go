package proof

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/stelehq/stele/internal/ledger"
	"golang.org/x/mod/sumdb/tlog"
)

// auditFormat is the name and version of audit files.
const auditFormat = "stele-audit-1"

// AuditFile is the first line of an audit file, which proves a range of a tenant's
// commits to a holder of the public key. A line follows for each of them, in order.
// Everything in it is bound by the checkpoint's signature, by hashes, or by the content
// of the commits.
type AuditFile struct {
	Format string          `json:"format"`
	Tenant ledger.Tenant   `json:"tenant"`
	From   ledger.Revision `json:"from"`
	To     ledger.Revision `json:"to"`
	// Key is the C2SP verifier key of the checkpoint. A verifier must compare it with a
	// key from an independent source.
	Key string `json:"key"`
	// Checkpoint is a signed note.
	Checkpoint string `json:"checkpoint"`
}

// auditCommit is one of the other lines.
type auditCommit struct {
	Index  int64       `json:"index"`
	Path   []tlog.Hash `json:"path"`
	Commit []byte      `json:"commit"`
}

// maxAuditLine is longer, in bytes, than a line with the largest commit.
const maxAuditLine = 16 << 20

// line writes a line in the one way there is.
func line(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// AuditWriter writes an audit file, and verifies everything that it writes.
type AuditWriter struct {
	w     io.Writer
	to    ledger.Revision
	chain *Chain
}

// NewAuditWriter writes the first line. It names the one of the ledger's keys that has
// signed the checkpoint.
func NewAuditWriter(w io.Writer, t ledger.Tenant, from, to ledger.Revision, key Verifier, signed string) (*AuditWriter, error) {
	c, err := Open(signed, key)
	if err != nil {
		return nil, err
	}
	_, by, err := key.open(signed)
	if err != nil {
		return nil, err
	}
	head, err := line(AuditFile{auditFormat, t, from, to, by, signed})
	if err == nil {
		_, err = w.Write(head)
	}
	return &AuditWriter{w, to, NewChain(c, t, from)}, err
}

// Add verifies the next commit and writes its line.
func (w *AuditWriter) Add(p Proven) (*ledger.Commit, error) {
	commit, err := w.chain.Next(p)
	if err != nil {
		return nil, fmt.Errorf("audit file: %w", err)
	}
	if p.Path == nil {
		p.Path = tlog.RecordProof{} // in JSON, [] instead of null
	}
	b, err := line(auditCommit{p.Index, p.Path, p.Commit})
	if err == nil {
		_, err = w.w.Write(b)
	}
	return commit, err
}

// Close reports whether every commit was added.
func (w *AuditWriter) Close() error {
	if got := w.chain.Head().Revision; got != w.to {
		return fmt.Errorf("audit file: it ends at %s, and must at %s", got, w.to)
	}
	return nil
}

// Audit is the content that an audit file has proven.
type Audit struct {
	Tenant   ledger.Tenant
	From, To ledger.Revision
	// Key that verified the checkpoint.
	Key        Verifier
	Checkpoint Checkpoint
	// Signed is the checkpoint's text.
	Signed string
	// First and Last commit, without their changes.
	First, Last ledger.Commit
}

// VerifyAudit reads an audit file to its end and verifies all of it, without
// keeping it in memory. Without a key it takes the file's own, which proves only
// that the file is whole and whose it is.
func VerifyAudit(r io.Reader, key *Verifier) (*Audit, error) {
	f := auditReader{in: bufio.NewReaderSize(r, 1<<20)}
	a, err := f.open(key)
	if err == nil {
		err = f.commits(a)
	}
	switch {
	case err == nil:
		return a, nil
	case errors.Is(err, errRead):
		return nil, fmt.Errorf("audit file: %w", err)
	}
	return nil, &InvalidError{"audit file", f.number, err}
}

var (
	errRead = errors.New("cannot be read")
	errCut  = errors.New("the file ends here: it was cut")
)

type auditReader struct {
	in *bufio.Reader
	// number of the line that was read last, from 1.
	number int
	buf    []byte
}

// next reads a line into v, and refuses one that is not written as line does.
func (f *auditReader) next(v any) error {
	f.number++
	f.buf = f.buf[:0]
	for {
		part, err := f.in.ReadSlice('\n')
		f.buf = append(f.buf, part...)
		switch {
		case err == nil:
		case errors.Is(err, bufio.ErrBufferFull) && len(f.buf) < maxAuditLine:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("it has more than %d bytes", maxAuditLine)
		case err == io.EOF:
			return errCut
		default:
			return fmt.Errorf("%w: %w", errRead, err)
		}
		break
	}
	dec := json.NewDecoder(bytes.NewReader(f.buf))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("it is not what an audit file holds: %w", err)
	}
	if b, err := line(v); err != nil || !bytes.Equal(b, f.buf) {
		return errors.New("it is not written as an audit file's lines are")
	}
	return nil
}

// open reads the first line.
func (f *auditReader) open(key *Verifier) (*Audit, error) {
	var head AuditFile
	if err := f.next(&head); err != nil {
		return nil, err
	}
	if head.Format != auditFormat {
		return nil, fmt.Errorf("it is of the format %.40q, and this program reads %q", head.Format, auditFormat)
	}
	if _, err := ledger.ParseTenant(string(head.Tenant)); err != nil {
		return nil, err
	}
	if head.From == 0 || head.From > head.To {
		return nil, fmt.Errorf("it is of no revision: from %s to %s", head.From, head.To)
	}
	own, err := ParseVerifier(head.Key)
	if err != nil {
		return nil, err
	}
	if key == nil {
		key = &own
	}
	if own.Name() != key.Name() {
		return nil, fmt.Errorf("%w: it names a key of %s, and the key given is of %s", ErrOtherLedger, own.Name(), key.Name())
	}
	if !key.Holds(own.String()) {
		return nil, fmt.Errorf("it names the key %s, and the one given is %s: if the ledger has changed its key, give a file with the key and its successors", own, *key)
	}
	c, err := Open(head.Checkpoint, *key)
	if err == nil {
		_, err = Open(head.Checkpoint, own)
	}
	return &Audit{Tenant: head.Tenant, From: head.From, To: head.To, Key: *key, Checkpoint: c, Signed: head.Checkpoint}, err
}

// commits reads the other lines.
func (f *auditReader) commits(a *Audit) error {
	chain := NewChain(a.Checkpoint, a.Tenant, a.From)
	for rev := a.From; ; rev++ {
		var in auditCommit
		if err := f.next(&in); errors.Is(err, errCut) {
			return fmt.Errorf("%w; its first line lists %s%s to %s, and %s and later are missing", err, a.Tenant, a.From, a.To, rev)
		} else if err != nil {
			return err
		}
		if in.Path == nil {
			return errors.New("it has no path: that of a tree of one commit is []")
		}
		c, err := chain.Next(Proven{in.Commit, in.Index, in.Path})
		if err != nil {
			return err
		}
		brief := *c
		brief.Encoded, brief.Changes = nil, nil
		if rev == a.From {
			a.First = brief
		}
		if rev == a.To {
			a.Last = brief
			break
		}
	}
	f.number++
	switch _, err := f.in.ReadByte(); {
	case err == nil:
		return errors.New("there is more after the last commit")
	case err != io.EOF:
		return fmt.Errorf("%w: %w", errRead, err)
	}
	return nil
}
