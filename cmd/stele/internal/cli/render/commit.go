package render

import (
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// placedCommit is a commit of any tenant as -o json and -o yaml print it.
type placedCommit struct {
	Position uint64 `json:"position"`
	Tenant   string `json:"tenant"`
	Commit
}

// WritePlaced prints a commit of any tenant as an object.
func WritePlaced(s *output.Printer, c *stelev1.PlacedCommit) error {
	return s.Object(placedCommit{c.Position, c.Info.Commit.Tenant, CommitObject(c.Info)})
}

// PlacedName is a commit's tenant and revision, for example acme@42.
func PlacedName(c *stelev1.Commit) string {
	return Revision(c.Tenant + ledger.Revision(c.Revision).String())
}

// Commit is a commit as -o json and -o yaml print it.
type Commit struct {
	Tenant   string `json:"tenant,omitempty"`
	Revision uint64 `json:"revision"`
	ID       string `json:"id"`
	Parent   string `json:"parent,omitempty"`
	Time     string `json:"time"`
	Author   string `json:"author"`
	// Operator says that the author was one, acting for the tenant.
	Operator  bool   `json:"operator,omitempty"`
	Message   string `json:"message"`
	RequestID string `json:"request_id,omitempty"`
	// Recorded and Importer are those of an import.
	Recorded string `json:"recorded,omitempty"`
	Importer string `json:"importer,omitempty"`
	// Rollback is the target of a rollback.
	Rollback *rollbackOrigin `json:"rollback,omitempty"`
	// Reverts are the commits that a revert took back.
	Reverts []uint64 `json:"reverts,omitempty"`
	Changes []change `json:"changes"`
	// Partial reports that it also changed keys which the caller may not read.
	Partial bool `json:"partial,omitempty"`
}

type rollbackOrigin struct {
	Revision uint64 `json:"revision"`
	Prefix   string `json:"prefix"`
}

// CommitObject returns a commit as -o json and -o yaml print it.
func CommitObject(info *stelev1.CommitInfo) Commit {
	c := info.Commit
	o := Commit{
		Tenant: c.Tenant, Revision: c.Revision, ID: hex.EncodeToString(info.Id), Parent: hex.EncodeToString(c.Parent),
		Time: RFC3339(c.Time), Author: c.Author, Operator: c.ByOperator, Message: c.Message, RequestID: c.RequestId,
		Reverts: c.Origin.GetRevert().GetRevisions(),
		Changes: changeObjects(c.Changes), Partial: info.Partial,
	}
	if in := c.Origin.GetImport(); in != nil {
		o.Recorded, o.Importer = RFC3339(in.Recorded), in.Importer
	}
	if back := c.Origin.GetRollback(); back != nil {
		o.Rollback = &rollbackOrigin{back.Revision, back.Prefix}
	}
	for i, was := range info.PreviousValues {
		o.Changes[i].Was = json.RawMessage(was)
	}
	return o
}

// Role is "operator" if the author of a commit was an operator from outside the tenant, and
// "-" otherwise. It is printed before the author's name, in a column of its own, because a
// name can contain any text. The author of an imported commit is the source's, not the importer.
func Role(c *stelev1.Commit) string {
	if c.ByOperator && c.Origin.GetImport() == nil {
		return "operator"
	}
	return "-"
}

// Authorship returns the rows of a commit's author and role.
func Authorship(c *stelev1.Commit) [][2]string {
	rows := [][2]string{{"author", output.Plain(c.Author)}}
	if role := Role(c); role != "-" {
		rows = append(rows, [2]string{"role", role})
	}
	return rows
}

// Origin says where a commit came from; nothing of an ordinary write.
func Origin(o *stelev1.Origin) (name, what string) {
	switch kind := o.GetKind().(type) {
	case *stelev1.Origin_Import:
		return "imported", Clock(kind.Import.Recorded) + " by " + output.Plain(kind.Import.Importer)
	case *stelev1.Origin_Rollback:
		what = "to " + ledger.Revision(kind.Rollback.Revision).String()
		if prefix := kind.Rollback.Prefix; prefix != "" {
			what += ", keys under " + prefix
		}
		return "rollback", what
	case *stelev1.Origin_Revert:
		revisions := make([]string, len(kind.Revert.Revisions))
		for i, r := range kind.Revert.Revisions {
			revisions[i] = ledger.Revision(r).String()
		}
		return "revert", "of " + strings.Join(revisions, ", ")
	}
	return "", ""
}

// WriteChanges prints the changes of a watched commit, one per line.
func WriteChanges(s *output.Printer, changes []*stelev1.Change) (err error) {
	for _, ch := range changes {
		if err != nil {
			return err
		}
		if ch.Delete {
			err = s.Printf("  %s %s\n", output.Bad.Render("-"), ch.Key)
		} else {
			err = s.Printf("  %s %s = %s\n", output.Good.Render("+"), ch.Key, ch.Value)
		}
	}
	return err
}
