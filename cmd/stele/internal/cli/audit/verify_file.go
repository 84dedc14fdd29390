package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/input"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// verifyFiles verifies each file by itself, and continues after one that fails.
func verifyFiles(c *session.Flags, names []string, o keyOptions) error {
	key, err := o.given()
	if err != nil {
		return err
	}
	witnesses, err := o.required()
	switch {
	case err != nil:
		return err
	case key != nil:
		*key = key.Require(witnesses)
	case len(witnesses.Keys) > 0:
		return failure.Usagef("--witness-key requires --key for files")
	}
	p := c.Printer()
	var failed error
	for _, name := range names {
		err := verifyFile(p, name, key)
		if err == nil {
			continue
		}
		err = unverified(fmt.Errorf("%s: %w", name, err))
		if failed != nil {
			fmt.Fprintln(output.Stderr, failed)
		}
		failed = err
	}
	return failed
}

// maxReceipt is longer, in bytes, than the receipt of the largest commit.
const maxReceipt = 16 << 20

func verifyFile(p *output.Printer, name string, key *proof.Verifier) error {
	file, _, err := input.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 1<<20)
	start, err := in.Peek(len(proof.ReceiptHeader))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.HasPrefix(string(start), "{") {
		a, err := proof.VerifyAudit(in, key)
		if err != nil {
			return err
		}
		return reportAudit(p, a, key != nil)
	}
	if key == nil {
		return failure.Usagef("only an audit file holds a key: give --key")
	}
	text, err := io.ReadAll(io.LimitReader(in, maxReceipt))
	if err != nil {
		return err
	}
	if string(start) == proof.ReceiptHeader {
		return verifyReceipt(p, string(text), *key)
	}
	if !strings.HasPrefix(string(start), "stele/") {
		return failure.With(failure.Unverified, fmt.Errorf("its first line is not the beginning of a receipt, an audit file or a checkpoint"))
	}
	cp, err := proof.Open(string(text), *key)
	if err != nil {
		return err
	}
	return reportCheckpoint(p, cp, string(text), *key)
}

// provenBy is the common part of every object of verify.
type provenBy struct {
	Verified    string `json:"verified"`
	Ledger      string `json:"ledger"`
	Size        int64  `json:"size"`
	Root        string `json:"root"`
	Key         string `json:"key"`
	Fingerprint string `json:"fingerprint"`
	// KeyGiven is false if the key came with the data that it verifies.
	KeyGiven bool `json:"key_given"`
	// Cosignatures are those of the witnesses that were required.
	Cosignatures []cosigned `json:"cosignatures,omitempty"`
}

func provenObject(what string, c proof.Checkpoint, signed string, key proof.Verifier, given bool) provenBy {
	return provenBy{what, c.Epoch.String(), c.Size, c.Root.String(), key.String(), key.Fingerprint(), given, cosignatures(key, signed)}
}

// cosigned is a witness's cosignature in an object.
type cosigned struct {
	Witness string `json:"witness"`
	Time    string `json:"time"`
}

// cosignatures are those of the witnesses that were required. The checkpoint was verified, so
// they are valid.
func cosignatures(key proof.Verifier, signed string) []cosigned {
	got, err := key.Witnesses().Cosignatures(signed)
	if err != nil {
		return nil
	}
	var out []cosigned
	for _, c := range got {
		out = append(out, cosigned{c.Witness.Name(), c.Time.Format(time.RFC3339)})
	}
	return out
}

// reportProven prints the end of verify's output for users.
func reportProven(p *output.Printer, rows [][2]string, c proof.Checkpoint, signed string, key proof.Verifier, given bool) error {
	for _, w := range cosignatures(key, signed) {
		rows = append(rows, [2]string{"witness", w.Witness + " at " + w.Time})
	}
	rows = append(rows, [2]string{"signed", treeWords(c.Epoch, c.Size)}, [2]string{"key", key.Fingerprint()})
	for _, row := range rows {
		if err := p.Printf("%s  %s\n", output.Faint.Render(fmt.Sprintf("%-8s", row[0])), row[1]); err != nil {
			return err
		}
	}
	if given {
		return nil
	}
	return p.Printf("The key comes from the file itself, so anyone can have made both. Compare its\nfingerprint with the one that you know, or pass --key.\n")
}

func verifyReceipt(p *output.Printer, text string, key proof.Verifier) error {
	r, err := proof.ParseReceipt(text)
	if err != nil {
		return err
	}
	commit, c, err := r.Verify(key)
	if err != nil {
		return err
	}
	object := render.CommitObject(&stelev1.CommitInfo{Id: commit.ID[:], Commit: commit.Proto()})
	if p.Format != output.Text {
		return p.Object(struct {
			provenBy
			Index  int64         `json:"index"`
			Tenant ledger.Tenant `json:"tenant"`
			Commit any           `json:"commit"`
		}{provenObject("receipt", c, r.Signed, key, true), r.Index, commit.Tenant, object})
	}
	if err := p.Printf("%s is in the ledger\n", render.Revision(string(commit.Tenant)+commit.Revision.String())); err != nil {
		return err
	}
	rows := [][2]string{{"id", object.ID}, {"time", object.Time}}
	rows = append(rows, render.Authorship(commit.Proto())...)
	if commit.Message != "" {
		rows = append(rows, output.Message(commit.Message)...)
	}
	if name, what := render.Origin(commit.Proto().Origin); name != "" {
		rows = append(rows, [2]string{name, what})
	}
	for _, ch := range commit.Changes {
		what := fmt.Sprintf("%s = %s", ch.Key, output.Plain(string(ch.Value)))
		if ch.Delete {
			what = fmt.Sprintf("%s deleted", ch.Key)
		}
		rows = append(rows, [2]string{"change", what})
	}
	return reportProven(p, rows, c, r.Signed, key, true)
}

func reportAudit(p *output.Printer, a *proof.Audit, given bool) error {
	count := a.To - a.From + 1
	if p.Format != output.Text {
		return p.Object(struct {
			provenBy
			Tenant  ledger.Tenant   `json:"tenant"`
			From    ledger.Revision `json:"from"`
			To      ledger.Revision `json:"to"`
			Commits uint64          `json:"commits"`
			First   string          `json:"first_time"`
			Last    string          `json:"last_time"`
			HeadID  string          `json:"last_id"`
		}{provenObject("audit file", a.Checkpoint, a.Signed, a.Key, given), a.Tenant, a.From, a.To, uint64(count),
			a.First.Time.Format(time.RFC3339Nano), a.Last.Time.Format(time.RFC3339Nano), a.Last.ID.String()})
	}
	if err := p.Printf("%s to %s are in the ledger, %s, in one chain\n",
		render.Revision(string(a.Tenant)+a.From.String()), render.Revision(a.To.String()), output.Count(int(count), "commit")); err != nil {
		return err
	}
	return reportProven(p, [][2]string{
		{"first", a.First.Time.Format(time.RFC3339) + "  " + a.First.ID.String()},
		{"last", a.Last.Time.Format(time.RFC3339) + "  " + a.Last.ID.String()},
		{"later", fmt.Sprintf("the file proves nothing about commits of %s after %s", a.Tenant, a.To)},
	}, a.Checkpoint, a.Signed, a.Key, given)
}

func reportCheckpoint(p *output.Printer, c proof.Checkpoint, signed string, key proof.Verifier) error {
	if p.Format != output.Text {
		return p.Object(provenObject("checkpoint", c, signed, key, true))
	}
	if err := p.Printf("the checkpoint is the ledger's\n"); err != nil {
		return err
	}
	return reportProven(p, [][2]string{{"root", c.Root.String()}}, c, signed, key, true)
}
