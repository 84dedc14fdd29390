// Package wire writes the ledger's types as requests carry them.
package wire

import (
	"time"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// AtRevision names a revision in a request.
func AtRevision(rev ledger.Revision) *stelev1.At {
	return &stelev1.At{Point: &stelev1.At_Revision{Revision: uint64(rev)}}
}

// EffectiveTime is the time by which a commit is found: its own, unless that is ahead.
func EffectiveTime(info *stelev1.CommitInfo) time.Time {
	if info.EffectiveTime != nil {
		return info.EffectiveTime.AsTime()
	}
	return info.Commit.Time.AsTime()
}

// CommitRequest asks for the change set. Its author goes along only where it is
// an import: who else writes is who the token says.
func CommitRequest(cs *ledger.ChangeSet) *stelev1.CommitRequest {
	r := &stelev1.CommitRequest{
		Message:       cs.Message,
		RequestId:     cs.RequestID,
		Changes:       make([]*stelev1.Change, len(cs.Changes)),
		Preconditions: make([]*stelev1.Precondition, len(cs.Preconditions)),
	}
	for i, c := range cs.Changes {
		r.Changes[i] = &stelev1.Change{Key: string(c.Key), Value: string(c.Value), Delete: c.Delete}
	}
	for i, p := range cs.Preconditions {
		r.Preconditions[i] = &stelev1.Precondition{Key: string(p.Key), Revision: uint64(p.Revision), CommitId: p.ID}
	}
	r.AllowInvalid, r.AllowEmpty = cs.AllowInvalid, cs.AllowEmpty
	if cs.ExpectedHead != nil {
		r.ExpectedHead, r.ExpectedHeadId = (*uint64)(cs.ExpectedHead), cs.ExpectedHeadID
	}
	r.Promotion = ledger.OriginProto(cs.Origin).GetPromotion()
	if cs.Import != nil {
		r.Import = &stelev1.Import{Time: timestamppb.New(cs.Import.Time), Author: cs.Author}
	}
	return r
}
