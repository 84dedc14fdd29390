package ledger

import (
	"errors"
	"fmt"
	"strings"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Origin says where a commit came from when it was not an ordinary write: an
// *ImportOrigin, a *RollbackOrigin, a *RevertOrigin, a *DriftOrigin, a *BaseOrigin, a
// *PromotionOrigin, a *CopyOrigin or a *ClockOrigin.
type Origin interface {
	proto() *stelev1.Origin
}

// ImportOrigin is the part of an imported commit that comes from the import itself: the
// commit's time and author are those of its source.
type ImportOrigin struct {
	// Recorded is when the commit really came in.
	Recorded time.Time
	Importer string
}

// RollbackOrigin names the target of a rollback.
type RollbackOrigin struct {
	// Revision is the state that was restored; 0 is the one before the first
	// commit.
	Revision Revision
	// Prefix of the keys that were rolled back.
	Prefix Prefix
}

// RevertOrigin names the reverted commits.
type RevertOrigin struct {
	Revisions []Revision
}

// DriftOrigin says where a change was made by hand that the commit took over.
type DriftOrigin struct {
	Sink string
	// Name of the item there.
	Name string
}

// BaseOrigin is the commit of a base that a pin was moved to.
type BaseOrigin struct {
	Base Tenant
	// From is the revision that the base was pinned at before.
	From     Revision
	Revision Revision
	ID       CommitID
	Author   string
}

// PromotionOrigin is the state of another tenant that values were taken over from.
type PromotionOrigin struct {
	Tenant   Tenant
	Revision Revision
	ID       CommitID
	// Epoch of the tenant's ledger; zero if it is the same ledger.
	Epoch Epoch
	// Keys are those that were promoted.
	Keys Pattern
	// Left are the keys among them that were left for a later promotion.
	Left []Key
}

// MaxLeft is the number of keys that a promotion may leave.
const MaxLeft = 1000

// ParsePromotion reads the origin that a writer names.
func ParsePromotion(p *stelev1.PromotionOrigin) (*PromotionOrigin, error) {
	o := promotionOf(p)
	if _, err := ParseTenant(p.Tenant); err != nil {
		return nil, err
	}
	if _, err := ParsePattern(p.Prefix); err != nil {
		return nil, err
	}
	switch {
	case p.Revision == 0:
		return nil, errors.New("it names no revision")
	case len(p.Id) != len(o.ID):
		return nil, fmt.Errorf("the commit id has %d bytes, not %d", len(p.Id), len(o.ID))
	case len(p.Epoch) != 0 && len(p.Epoch) != len(o.Epoch):
		return nil, fmt.Errorf("the epoch has %d bytes, not %d", len(p.Epoch), len(o.Epoch))
	case len(p.Left) > MaxLeft:
		return nil, fmt.Errorf("it leaves %d keys, more than %d", len(p.Left), MaxLeft)
	}
	for _, k := range p.Left {
		if _, err := ParseKey(k); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func promotionOf(p *stelev1.PromotionOrigin) *PromotionOrigin {
	o := &PromotionOrigin{Tenant: Tenant(p.Tenant), Revision: Revision(p.Revision), Keys: Pattern(p.Prefix)}
	copy(o.ID[:], p.Id)
	copy(o.Epoch[:], p.Epoch)
	for _, k := range p.Left {
		o.Left = append(o.Left, Key(k))
	}
	return o
}

// CopyOrigin says which keys were copied or renamed: both names are keys, or both end with
// "/".
type CopyOrigin struct {
	From, To Name
	// Renamed reports that the commit deletes the old keys.
	Renamed bool
}

// ClockOrigin marks a commit that ends commits whose times are ahead.
type ClockOrigin struct {
	// Ahead is the time of the parent.
	Ahead time.Time
}

// resetsClock reports whether a commit of the origin ends times that are ahead; it has no
// changes.
func resetsClock(o Origin) bool {
	_, resets := o.(*ClockOrigin)
	return resets
}

// OriginProto is the origin as the API shows it.
func OriginProto(o Origin) *stelev1.Origin {
	if o == nil {
		return nil
	}
	return o.proto()
}

func (o *ImportOrigin) proto() *stelev1.Origin {
	return &stelev1.Origin{Kind: &stelev1.Origin_Import{Import: &stelev1.ImportOrigin{
		Recorded: timestamppb.New(o.Recorded),
		Importer: o.Importer,
	}}}
}

func (o *RollbackOrigin) proto() *stelev1.Origin {
	return &stelev1.Origin{Kind: &stelev1.Origin_Rollback{Rollback: &stelev1.RollbackOrigin{
		Revision: uint64(o.Revision),
		Prefix:   string(o.Prefix),
	}}}
}

func (o *RevertOrigin) proto() *stelev1.Origin {
	p := &stelev1.RevertOrigin{Revisions: make([]uint64, len(o.Revisions))}
	for i, r := range o.Revisions {
		p.Revisions[i] = uint64(r)
	}
	return &stelev1.Origin{Kind: &stelev1.Origin_Revert{Revert: p}}
}

func (o *DriftOrigin) proto() *stelev1.Origin {
	return &stelev1.Origin{Kind: &stelev1.Origin_Drift{Drift: &stelev1.DriftOrigin{Sink: o.Sink, Name: o.Name}}}
}

func (o *BaseOrigin) proto() *stelev1.Origin {
	return &stelev1.Origin{Kind: &stelev1.Origin_Base{Base: &stelev1.BaseOrigin{
		Tenant: string(o.Base), FromRevision: uint64(o.From), Revision: uint64(o.Revision), Id: o.ID[:], Author: o.Author,
	}}}
}

func (o *PromotionOrigin) proto() *stelev1.Origin {
	p := &stelev1.PromotionOrigin{Tenant: string(o.Tenant), Revision: uint64(o.Revision), Id: o.ID[:], Prefix: string(o.Keys)}
	if o.Epoch != (Epoch{}) {
		p.Epoch = o.Epoch[:]
	}
	for _, k := range o.Left {
		p.Left = append(p.Left, string(k))
	}
	return &stelev1.Origin{Kind: &stelev1.Origin_Promotion{Promotion: p}}
}

func (o *CopyOrigin) proto() *stelev1.Origin {
	return &stelev1.Origin{Kind: &stelev1.Origin_Copy{Copy: &stelev1.CopyOrigin{From: string(o.From), To: string(o.To), Renamed: o.Renamed}}}
}

func (o *ClockOrigin) proto() *stelev1.Origin {
	return &stelev1.Origin{Kind: &stelev1.Origin_Clock{Clock: &stelev1.ClockOrigin{Ahead: timestamppb.New(o.Ahead)}}}
}

// Earlier is the name that the keys of a name had before they were copied; empty if none of
// them was.
func (o *CopyOrigin) Earlier(n Name) Name {
	rest, inside := strings.CutPrefix(string(n), string(o.To))
	switch {
	case o.To.IsKey() && n.Match(Key(o.To)), strings.HasPrefix(string(o.To), string(n.Range())) && !n.IsKey():
		return o.From
	case inside && !o.To.IsKey():
		return o.From + Name(rest)
	}
	return ""
}

// restores reports whether the changes of the origin are stored values, of which the secrets
// are sealed already.
func restores(o Origin) bool {
	switch o.(type) {
	case *RollbackOrigin, *RevertOrigin, *CopyOrigin:
		return true
	}
	return false
}

// originOf reads a stored origin; an unknown kind is read as no origin.
func originOf(p *stelev1.Origin) Origin {
	switch kind := p.GetKind().(type) {
	case *stelev1.Origin_Import:
		return &ImportOrigin{Recorded: kind.Import.Recorded.AsTime(), Importer: kind.Import.Importer}
	case *stelev1.Origin_Rollback:
		return &RollbackOrigin{Revision: Revision(kind.Rollback.Revision), Prefix: Prefix(kind.Rollback.Prefix)}
	case *stelev1.Origin_Revert:
		o := &RevertOrigin{Revisions: make([]Revision, len(kind.Revert.Revisions))}
		for i, r := range kind.Revert.Revisions {
			o.Revisions[i] = Revision(r)
		}
		return o
	case *stelev1.Origin_Drift:
		return &DriftOrigin{Sink: kind.Drift.Sink, Name: kind.Drift.Name}
	case *stelev1.Origin_Base:
		o := &BaseOrigin{Base: Tenant(kind.Base.Tenant), From: Revision(kind.Base.FromRevision), Revision: Revision(kind.Base.Revision), Author: kind.Base.Author}
		copy(o.ID[:], kind.Base.Id)
		return o
	case *stelev1.Origin_Promotion:
		return promotionOf(kind.Promotion)
	case *stelev1.Origin_Copy:
		return &CopyOrigin{From: Name(kind.Copy.From), To: Name(kind.Copy.To), Renamed: kind.Copy.Renamed}
	case *stelev1.Origin_Clock:
		return &ClockOrigin{Ahead: kind.Clock.Ahead.AsTime()}
	}
	return nil
}
