package proof

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	"golang.org/x/mod/sumdb/tlog"
)

// ReceiptHeader is a receipt's first line.
const ReceiptHeader = "c2sp.org/tlog-proof@v1"

// Receipt proves one commit offline to a holder of the public key. It is a C2SP tlog
// proof (c2sp.org/tlog-proof), whose extra data are the commit:
//
//	c2sp.org/tlog-proof@v1
//	extra <the commit's bytes, base64>
//	index <the leaf's place in the tree>
//	<a hash of the audit path, base64; one per line>
//
//	<checkpoint>
type Receipt struct {
	Proven
	// Signed is the checkpoint as it was signed.
	Signed string
}

// maxPath is the longest audit path that a tree can have.
const maxPath = 63

// Text writes the receipt.
func (r Receipt) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nextra %s\nindex %d\n", ReceiptHeader, base64.StdEncoding.EncodeToString(r.Commit), r.Index)
	for _, h := range r.Path {
		b.WriteString(h.String() + "\n")
	}
	return b.String() + "\n" + r.Signed
}

// ParseReceipt reads what Text wrote, and nothing else: there is one way to write
// a receipt, so that one that was edited is never taken for another's.
func ParseReceipt(text string) (Receipt, error) {
	invalid := func(line int, format string, args ...any) (Receipt, error) {
		return Receipt{}, &InvalidError{"receipt", line, fmt.Errorf(format, args...)}
	}
	head, signed, ok := strings.Cut(text, "\n\n")
	if !ok {
		return invalid(0, "it has no empty line before a checkpoint: it was cut")
	}
	lines := strings.Split(head, "\n")
	if len(lines) < 3 || len(lines) > 3+maxPath || lines[0] != ReceiptHeader {
		return invalid(1, "a receipt begins with the lines %q, extra and index, and at most %d hashes", ReceiptHeader, maxPath)
	}
	r := Receipt{Signed: signed}
	var err error
	extra, ok := strings.CutPrefix(lines[1], "extra ")
	if r.Commit, err = base64.StdEncoding.DecodeString(extra); err != nil || !ok {
		return invalid(2, "it is not \"extra\" and a commit in base64")
	}
	index, ok := strings.CutPrefix(lines[2], "index ")
	if r.Index, err = strconv.ParseInt(index, 10, 64); err != nil || !ok || r.Index < 0 {
		return invalid(3, "it is not \"index\" and a number")
	}
	for i, line := range lines[3:] {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return invalid(4+i, "it is not a hash of 32 bytes in base64")
		}
		r.Path = append(r.Path, h)
	}
	if r.Text() != text {
		return invalid(0, "it is not written as receipts are")
	}
	return r, nil
}

// Verify proves the receipt's commit with the ledger's public key.
func (r Receipt) Verify(key Verifier) (*ledger.Commit, Checkpoint, error) {
	c, err := Open(r.Signed, key)
	if err != nil {
		return nil, c, fmt.Errorf("receipt: %w", err)
	}
	commit, err := r.Check(c)
	if err != nil {
		return nil, c, &InvalidError{"receipt", 0, err}
	}
	return commit, c, nil
}
