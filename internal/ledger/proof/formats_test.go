package proof_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// book is a ledger's commits with their tree, and the key that signs it.
type book struct {
	epoch   ledger.Epoch
	signer  note.Signer
	key     proof.Verifier
	commits []*ledger.Commit
	hashes  []tlog.Hash
}

func newBook(t testing.TB, epoch ledger.Epoch) *book {
	t.Helper()
	secret, public, err := proof.GenerateKey(epoch)
	if err != nil {
		t.Fatal(err)
	}
	return newBookOf(t, epoch, secret, public)
}

func newBookOf(t testing.TB, epoch ledger.Epoch, secret, public string) *book {
	t.Helper()
	b, err := &book{epoch: epoch}, error(nil)
	if b.signer, err = note.NewSigner(secret); err != nil {
		t.Fatal(err)
	}
	if b.key, err = proof.ParseVerifier(public); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *book) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		out[i] = b.hashes[index]
	}
	return out, nil
}

// write adds a tenant's next commit; edit may spoil it.
func (b *book) write(t testing.TB, tenant ledger.Tenant, edit func(*stelev1.Commit)) {
	t.Helper()
	n := len(b.commits)
	p := &stelev1.Commit{
		Epoch: b.epoch[:], Tenant: string(tenant), Revision: 1, Author: "ann", Message: fmt.Sprintf("change %d <&>", n),
		Time:    timestamppb.New(time.Unix(1_700_000_000+int64(n), 5)),
		Changes: []*stelev1.Change{{Key: "a/b", Value: fmt.Sprint(n)}},
	}
	for _, c := range b.commits {
		if c.Tenant == tenant {
			p.Revision, p.Parent = uint64(c.Revision)+1, c.ID[:]
		}
	}
	if edit != nil {
		edit(p)
	}
	encoded, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ledger.DecodeCommit(encoded)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := tlog.StoredHashesForRecordHash(int64(n), tlog.Hash(c.ID), b)
	if err != nil {
		t.Fatal(err)
	}
	b.commits, b.hashes = append(b.commits, c), append(b.hashes, stored...)
}

func (b *book) checkpoint(t testing.TB) string {
	t.Helper()
	size := int64(len(b.commits))
	root, err := tlog.TreeHash(size, b)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := proof.Checkpoint{Epoch: b.epoch, Size: size, Root: root}.Sign(b.signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (b *book) prove(t testing.TB, leaf int) proof.Proven {
	t.Helper()
	path, err := tlog.ProveRecord(int64(len(b.commits)), int64(leaf), b)
	if err != nil {
		t.Fatal(err)
	}
	return proof.Proven{Commit: b.commits[leaf].Encoded, Index: int64(leaf), Path: path}
}

func (b *book) receipt(t testing.TB, leaf int) string {
	t.Helper()
	return proof.Receipt{Proven: b.prove(t, leaf), Signed: b.checkpoint(t)}.Text()
}

// audit is the audit file of a tenant.
func (b *book) audit(t testing.TB, tenant ledger.Tenant, from, to ledger.Revision) string {
	t.Helper()
	var file bytes.Buffer
	w, err := proof.NewAuditWriter(&file, tenant, from, to, b.key, b.checkpoint(t))
	if err != nil {
		t.Fatal(err)
	}
	for leaf, c := range b.commits {
		if c.Tenant == tenant && from <= c.Revision && c.Revision <= to {
			if _, err := w.Add(b.prove(t, leaf)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.String()
}

// sample is a book of two tenants, acme's commits at the even leaves.
func sample(t testing.TB, commits int) *book {
	t.Helper()
	b := newBook(t, sampleEpoch)
	b.fill(t, commits)
	return b
}

var sampleEpoch = ledger.Epoch{1, 2, 3, 4, 5, 6, 7, 8}

func (b *book) fill(t testing.TB, commits int) {
	t.Helper()
	for i := range commits {
		b.write(t, []ledger.Tenant{"acme", "other"}[i%2], nil)
	}
}

// The key of a fuzz target is the same in all of its processes: an input that one of them
// has found, signatures included, is good in the others.
const (
	fuzzSecret = "PRIVATE+KEY+stele/0102030405060708+6ec0a9bc+Af81JM8kdgHy0rZjSJzoD+Fc3xXBaKuN8Cf7lnCFVM6y"
	fuzzPublic = "stele/0102030405060708+6ec0a9bc+AXB3orG4+/SQArQ7Lc8kUKk146jSZbiEL7JnufbPR3ET"
)

func verifyReceipt(text string, key proof.Verifier) error {
	r, err := proof.ParseReceipt(text)
	if err != nil {
		return err
	}
	_, _, err = r.Verify(key)
	return err
}

func verifyAudit(text string, key *proof.Verifier) error {
	_, err := proof.VerifyAudit(strings.NewReader(text), key)
	return err
}

func TestReceipts(t *testing.T) {
	for _, size := range []int{1, 2, 7, 64} {
		b := sample(t, size)
		for leaf, want := range b.commits {
			text := b.receipt(t, leaf)
			r, err := proof.ParseReceipt(text)
			if err != nil {
				t.Fatal(err)
			}
			got, c, err := r.Verify(b.key)
			if err != nil || got.ID != want.ID || c.Size != int64(size) {
				t.Errorf("leaf %d of %d: %v, %v, %v", leaf, size, got, c, err)
			}
			if err := secondReceipt(text, b.key.String()); err != nil {
				t.Errorf("leaf %d of %d: %v", leaf, size, err)
			}
		}
	}
}

func TestReceipts_FlippedBit(t *testing.T) {
	b := sample(t, 11)
	text := b.receipt(t, 6)
	for i := range len(text) {
		for _, bit := range []int{i % 5, 5} { // 5 makes an upper case letter a lower case one
			bad := []byte(text)
			bad[i] ^= 1 << bit
			if err := verifyReceipt(string(bad), b.key); !errors.Is(err, proof.ErrInvalid) {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
			if err := secondReceipt(string(bad), b.key.String()); err == nil {
				t.Errorf("bit %d of byte %d: the second verifier accepts it", bit, i)
			}
		}
	}
	for n := range len(text) {
		if err := verifyReceipt(text[:n], b.key); !errors.Is(err, proof.ErrInvalid) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if err := verifyReceipt(text+"\n", b.key); !errors.Is(err, proof.ErrInvalid) {
		t.Errorf("longer: %v", err)
	}
}

func TestReceipts_OfAnotherLedgerOrKey(t *testing.T) {
	b := sample(t, 5)
	text := b.receipt(t, 2)
	if err := verifyReceipt(text, newBook(t, ledger.Epoch{9}).key); !errors.Is(err, proof.ErrOtherLedger) {
		t.Errorf("another ledger's key: %v", err)
	}
	err := verifyReceipt(text, newBook(t, b.epoch).key)
	if !errors.Is(err, proof.ErrInvalid) || errors.Is(err, proof.ErrOtherLedger) {
		t.Errorf("another key of the ledger: %v", err)
	}
	// A commit of another ledger in this one's tree.
	b.write(t, "stranger", func(c *stelev1.Commit) { c.Epoch = []byte("abcdefgh") })
	if err := verifyReceipt(b.receipt(t, 5), b.key); !errors.Is(err, proof.ErrOtherLedger) {
		t.Errorf("another ledger's commit: %v", err)
	}
	if err := secondReceipt(b.receipt(t, 5), b.key.String()); err == nil {
		t.Error("another ledger's commit: the second verifier accepts it")
	}
}

func TestAuditFiles(t *testing.T) {
	b := sample(t, 21)
	for _, r := range [][2]ledger.Revision{{1, 1}, {1, 11}, {4, 9}, {11, 11}} {
		text := b.audit(t, "acme", r[0], r[1])
		for _, key := range []*proof.Verifier{nil, &b.key} {
			a, err := proof.VerifyAudit(strings.NewReader(text), key)
			if err != nil {
				t.Fatal(err)
			}
			if a.Tenant != "acme" || a.From != r[0] || a.To != r[1] || a.Key.String() != b.key.String() || a.Checkpoint.Size != 21 ||
				a.First.ID != b.commits[2*r[0]-2].ID || a.Last.ID != b.commits[2*r[1]-2].ID {
				t.Errorf("%v: %+v", r, a)
			}
		}
		if err := secondAudit(text, b.key.String()); err != nil {
			t.Errorf("%v: %v", r, err)
		}
	}
	if one := sample(t, 1); verifyAudit(one.audit(t, "acme", 1, 1), nil) != nil {
		t.Error("the audit file of a tree of one commit does not verify")
	}
}

func TestAuditFiles_FlippedBit(t *testing.T) {
	b := sample(t, 9)
	text := b.audit(t, "acme", 2, 4)
	for i := range len(text) {
		for _, bit := range []int{i % 5, 5} { // 5 makes an upper case letter a lower case one
			bad := []byte(text)
			bad[i] ^= 1 << bit
			if err := verifyAudit(string(bad), nil); !errors.Is(err, proof.ErrInvalid) {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
			if err := secondAudit(string(bad), b.key.String()); err == nil {
				t.Errorf("bit %d of byte %d: the second verifier accepts it", bit, i)
			}
		}
	}
	for n := range len(text) {
		if err := verifyAudit(text[:n], nil); !errors.Is(err, proof.ErrInvalid) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestAuditFiles_EditIsFoundWithItsLine(t *testing.T) {
	b := sample(t, 12)
	lines := strings.SplitAfter(b.audit(t, "acme", 2, 5), "\n")
	edited := func(edit func(l []string) []string) string {
		return strings.Join(edit(append([]string(nil), lines[:5]...)), "")
	}
	for name, c := range map[string]struct {
		text string
		line string
	}{
		"empty":            {"", "line 1:"},
		"no commits":       {lines[0], "line 2:"},
		"a line dropped":   {edited(func(l []string) []string { return append(l[:2], l[3:]...) }), "line 3:"},
		"the first":        {edited(func(l []string) []string { return append(l[:1], l[2:]...) }), "line 2:"},
		"the last":         {edited(func(l []string) []string { return l[:4] }), "line 5:"},
		"a line twice":     {edited(func(l []string) []string { return append(l[:3], l[2:]...) }), "line 4:"},
		"reordered":        {edited(func(l []string) []string { l[2], l[3] = l[3], l[2]; return l }), "line 3:"},
		"a line more":      {edited(func(l []string) []string { return append(l, l[4]) }), "line 6:"},
		"another range":    {strings.Replace(strings.Join(lines, ""), `"from":2`, `"from":1`, 1), "line 2:"},
		"another tenant":   {strings.Replace(strings.Join(lines, ""), "acme", "bcme", 1), "line 2:"},
		"a field more":     {strings.Replace(strings.Join(lines, ""), `"from"`, `"at":1,"from"`, 1), "line 1:"},
		"a space":          {strings.Replace(strings.Join(lines, ""), `:2,`, `: 2,`, 1), "line 1:"},
		"another format":   {strings.Replace(strings.Join(lines, ""), "audit-1", "audit-2", 1), "line 1:"},
		"another's commit": {edited(func(l []string) []string { l[3] = strings.SplitAfter(b.audit(t, "other", 4, 4), "\n")[1]; return l }), "line 4:"},
	} {
		err := verifyAudit(c.text, &b.key)
		if !errors.Is(err, proof.ErrInvalid) || !strings.Contains(fmt.Sprint(err), c.line) {
			t.Errorf("%s: %v", name, err)
		}
		if err := secondAudit(c.text, b.key.String()); err == nil {
			t.Errorf("%s: the second verifier accepts it", name)
		}
	}
	whole := strings.Join(lines, "")
	other := newBook(t, b.epoch).key
	if err := verifyAudit(whole, &other); !errors.Is(err, proof.ErrInvalid) {
		t.Errorf("another key: %v", err)
	}
	alien := newBook(t, ledger.Epoch{9}).key
	if err := verifyAudit(whole, &alien); !errors.Is(err, proof.ErrOtherLedger) {
		t.Errorf("another ledger's key: %v", err)
	}
}

// A correctly signed checkpoint can still contradict the history.
func TestAuditFiles_SignedTreeOfBrokenHistory(t *testing.T) {
	for name, edit := range map[string]func(*stelev1.Commit){
		"a gap":            func(c *stelev1.Commit) { c.Revision++ },
		"another parent":   func(c *stelev1.Commit) { c.Parent[0] ^= 1 },
		"time going back":  func(c *stelev1.Commit) { c.Time.Seconds -= 100 },
		"another's epoch":  func(c *stelev1.Commit) { c.Epoch = []byte("abcdefgh") },
		"the same one":     func(c *stelev1.Commit) { c.Revision-- },
		"another's tenant": func(c *stelev1.Commit) { c.Tenant = "other" },
	} {
		b := sample(t, 3)
		b.write(t, "acme", func(c *stelev1.Commit) {
			c.Parent = bytes.Clone(c.Parent)
			edit(c)
		})
		var file bytes.Buffer
		w, err := proof.NewAuditWriter(&file, "acme", 2, 3, b.key, b.checkpoint(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = w.Add(b.prove(t, 2)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Add(b.prove(t, 3)); err == nil {
			t.Errorf("%s: the writer accepts it", name)
		}
		spoilt := b.prove(t, 3)
		line, err := json.Marshal(struct {
			Index  int64       `json:"index"`
			Path   []tlog.Hash `json:"path"`
			Commit []byte      `json:"commit"`
		}{spoilt.Index, spoilt.Path, spoilt.Commit})
		if err != nil {
			t.Fatal(err)
		}
		text := file.String() + string(line) + "\n"
		if err := verifyAudit(text, nil); !errors.Is(err, proof.ErrInvalid) || !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%s: %v", name, err)
		}
		if err := secondAudit(text, b.key.String()); err == nil {
			t.Errorf("%s: the second verifier accepts it", name)
		}
	}
}

func FuzzParseReceipt(f *testing.F) {
	b := sample(f, 5)
	f.Add(b.receipt(f, 2))
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := proof.ParseReceipt(text); err == nil && r.Text() != text {
			t.Errorf("%q is written %q", text, r.Text())
		}
	})
}

func FuzzVerifyAudit(f *testing.F) {
	b := newBookOf(f, sampleEpoch, fuzzSecret, fuzzPublic)
	b.fill(f, 5)
	good := b.audit(f, "acme", 1, 3)
	f.Add(good)
	f.Fuzz(func(t *testing.T, text string) {
		if err := verifyAudit(text, &b.key); err == nil && !strings.HasPrefix(good, text[:len(text)/2]) {
			t.Errorf("verifies: %q", text)
		}
	})
}

func BenchmarkVerifyAudit(b *testing.B) {
	bk := sample(b, 4096)
	text := bk.audit(b, "acme", 1, 2048)
	for b.Loop() {
		if err := verifyAudit(text, &bk.key); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(2048*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
