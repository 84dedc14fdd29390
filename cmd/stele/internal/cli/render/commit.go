package render

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
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
	// EffectiveTime is the time by which the commit is found, if it is not its own.
	EffectiveTime string `json:"effective_time,omitempty"`
	Author        string `json:"author"`
	// Operator is set if the author was one, acting for the tenant.
	Operator  bool   `json:"operator,omitempty"`
	Message   string `json:"message"`
	RequestID string `json:"request_id,omitempty"`
	Origins
	Changes []change `json:"changes"`
	// Partial reports that it also changed keys which the caller may not read.
	Partial bool `json:"partial,omitempty"`
	// MoreChanges reports that it changed more inherited values than are listed.
	MoreChanges bool `json:"more_changes,omitempty"`
}

// Origins is where a commit came from, as -o json and -o yaml print it.
type Origins struct {
	// Recorded and Importer are those of an import.
	Recorded string `json:"recorded,omitempty"`
	Importer string `json:"importer,omitempty"`
	// Rollback is the target of a rollback.
	Rollback *rollbackOrigin `json:"rollback,omitempty"`
	// Reverts are the commits that a revert took back.
	Reverts []uint64 `json:"reverts,omitempty"`
	// Drift is the item of a sink whose manual change was adopted.
	Drift *driftOrigin `json:"drift,omitempty"`
	// Base is the commit of a base that a pin was moved to.
	Base *baseOrigin `json:"base,omitempty"`
	// Promotion is the state that values were promoted from.
	Promotion *promotionOrigin `json:"promotion,omitempty"`
	// Copy has the names of keys that were copied or renamed.
	Copy *copyOrigin `json:"copy,omitempty"`
	// Clock is the time that a reset of the clock has ended.
	Clock *clockOrigin `json:"clock,omitempty"`
}

type clockOrigin struct {
	Ahead string `json:"ahead"`
}

type rollbackOrigin struct {
	Revision uint64 `json:"revision"`
	Prefix   string `json:"prefix"`
}

type driftOrigin struct {
	Sink string `json:"sink"`
	Name string `json:"name"`
}

type baseOrigin struct {
	Tenant       string `json:"tenant"`
	FromRevision uint64 `json:"from_revision"`
	Revision     uint64 `json:"revision"`
	Author       string `json:"author"`
}

type promotionOrigin struct {
	Tenant   string `json:"tenant"`
	Revision uint64 `json:"revision"`
	ID       string `json:"id"`
	Epoch    string `json:"epoch,omitempty"`
	Prefix   string `json:"prefix"`
	// Left are the keys that were left for a later promotion.
	Left []string `json:"left,omitempty"`
}

type copyOrigin struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Renamed bool   `json:"renamed,omitempty"`
}

// OriginObjects returns where a commit came from as -o json and -o yaml print it.
func OriginObjects(o *stelev1.Origin) (out Origins) {
	switch kind := o.GetKind().(type) {
	case *stelev1.Origin_Import:
		out.Recorded, out.Importer = RFC3339(kind.Import.Recorded), kind.Import.Importer
	case *stelev1.Origin_Rollback:
		out.Rollback = &rollbackOrigin{kind.Rollback.Revision, kind.Rollback.Prefix}
	case *stelev1.Origin_Revert:
		out.Reverts = kind.Revert.Revisions
	case *stelev1.Origin_Drift:
		out.Drift = &driftOrigin{kind.Drift.Sink, kind.Drift.Name}
	case *stelev1.Origin_Base:
		out.Base = &baseOrigin{kind.Base.Tenant, kind.Base.FromRevision, kind.Base.Revision, kind.Base.Author}
	case *stelev1.Origin_Promotion:
		p := kind.Promotion
		out.Promotion = &promotionOrigin{p.Tenant, p.Revision, hex.EncodeToString(p.Id), hex.EncodeToString(p.Epoch), p.Prefix, p.Left}
	case *stelev1.Origin_Copy:
		out.Copy = &copyOrigin{kind.Copy.From, kind.Copy.To, kind.Copy.Renamed}
	case *stelev1.Origin_Clock:
		out.Clock = &clockOrigin{RFC3339(kind.Clock.Ahead)}
	}
	return out
}

// CommitObject returns a commit as -o json and -o yaml print it.
func CommitObject(info *stelev1.CommitInfo) Commit {
	c := info.Commit
	o := Commit{
		Tenant: c.Tenant, Revision: c.Revision, ID: hex.EncodeToString(info.Id), Parent: hex.EncodeToString(c.Parent),
		Time: RFC3339(c.Time), Author: c.Author, Operator: c.ByOperator, Message: c.Message, RequestID: c.RequestId,
		Origins: OriginObjects(c.Origin), Changes: changeObjects(c.Changes), Partial: info.Partial, MoreChanges: info.MoreChanges,
	}
	if info.EffectiveTime != nil {
		o.EffectiveTime = RFC3339(info.EffectiveTime)
	}
	for i, was := range info.PreviousValues {
		o.Changes[i].Was = json.RawMessage(was)
	}
	return o
}

// When is a commit's time, marked if it is found by another one, because it is ahead.
func When(info *stelev1.CommitInfo) string {
	at := Clock(info.Commit.Time)
	if info.EffectiveTime != nil {
		at += " (ahead)"
	}
	return at
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
	case *stelev1.Origin_Drift:
		return "adopted", output.Plain(kind.Drift.Name) + " of the sink " + kind.Drift.Sink
	case *stelev1.Origin_Base:
		b := kind.Base
		return "base", fmt.Sprintf("%s moved from %s to %s, committed by %s", b.Tenant, ledger.Revision(b.FromRevision), ledger.Revision(b.Revision), output.Plain(b.Author))
	case *stelev1.Origin_Promotion:
		what = kind.Promotion.Tenant + ledger.Revision(kind.Promotion.Revision).String()
		if prefix := kind.Promotion.Prefix; prefix != "" {
			what += ", keys under " + prefix
		}
		return "promoted", "from " + what
	case *stelev1.Origin_Copy:
		if kind.Copy.Renamed {
			return "renamed", "from " + kind.Copy.From + " to " + kind.Copy.To
		}
		return "copied", "from " + kind.Copy.From + " to " + kind.Copy.To
	case *stelev1.Origin_Clock:
		return "clock", "reset: ends times up to " + Clock(kind.Clock.Ahead)
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
