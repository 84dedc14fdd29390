package dynamodb

import (
	"errors"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// attributes are an item as DynamoDB has it, or some of it.
type attributes = map[string]types.AttributeValue

func count(n uint64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatUint(n, 10)}
}

// render makes all attributes of a write's item except the keys. The error is a
// *projector.RefusedError.
func (s *sink) render(w projector.Write) (attributes, error) {
	l := &s.layout
	item := attributes{
		l.Revision: count(uint64(w.Revision)),
		l.Commit:   text(w.Commit.String()),
		l.Author:   text(w.Author),
		l.Time:     text(w.Time.UTC().Format(time.RFC3339Nano)),
		l.Epoch:    text(s.epoch.String()),
		l.Deleted:  &types.AttributeValueMemberBOOL{Value: w.Deleted() != l.sample()},
	}
	if l.sample() {
		item[l.Time] = count(uint64(w.Time.UnixMilli()))
	}
	if w.Deleted() {
		if s.tombstones > 0 {
			item[l.Expires] = count(uint64(w.Time.Add(s.tombstones).Unix()))
		}
		return item, nil
	}
	item[l.JSON] = text(string(w.Value))
	return item, s.addNative(item, w)
}

// addNative adds the value in DynamoDB's own types if that is possible.
func (s *sink) addNative(item attributes, w projector.Write) error {
	l := &s.layout
	at, err := l.primaryKey(w.Tenant, w.Key)
	if err != nil {
		return err
	}
	size := len(l.Partition) + len(at.partition) + len(l.Sort) + len(at.sort) + itemSize(item)
	v, err := l.native(w.Value)
	if _, refused := errors.AsType[*projector.RefusedError](err); refused {
		return err
	}
	whole := size
	if err == nil {
		whole += len(l.Value) + valueSize(v)
	}
	switch {
	case size > maxItem:
		return projector.Refuse("its item has %d bytes, and DynamoDB holds %d: make the value smaller, or route the key to another sink", size, maxItem)
	case err == nil && whole <= maxItem:
		item[l.Value] = v
	case l.sample() && err == nil:
		return projector.Refuse("its item has %d bytes, and DynamoDB holds %d: make the value smaller, or route the key to another sink", whole, maxItem)
	case l.sample():
		return projector.Refuse("%v, and readers of the layout %s read nothing else: change the value, or route the key to another sink", err, l.Preset)
	}
	return nil
}

// native is the value as the layout has it in DynamoDB's own types.
func (l *layout) native(v ledger.Value) (types.AttributeValue, error) {
	if !l.sample() {
		return native(v, 1)
	}
	if v[0] == '{' {
		member, err := native(v, 2)
		return &types.AttributeValueMemberL{Value: []types.AttributeValue{member}}, err
	}
	list, err := native(v, 1)
	if err != nil {
		return nil, err
	}
	if l, ok := list.(*types.AttributeValueMemberL); ok && onlyMaps(l.Value) {
		return list, nil
	}
	return nil, projector.Refuse("the value is neither an object nor an array of objects, and the layout %s holds nothing else: change the value, or route the key to another sink", l.Preset)
}

func onlyMaps(list []types.AttributeValue) bool {
	for _, e := range list {
		if _, ok := e.(*types.AttributeValueMemberM); !ok {
			return false
		}
	}
	return true
}

// item is the content of an item of the table. Its State is the attributes.
func (s *sink) item(found attributes) projector.Item {
	l := &s.layout
	at := primaryKey{stringOf(found[l.Partition]), stringOf(found[l.Sort])}
	t, _ := l.tenant(at)
	item := projector.Item{Tenant: t, Key: l.key(at), Name: s.name(at), Value: l.value(found), State: found}
	if stringOf(found[l.Epoch]) == s.epoch.String() {
		item.Revision = l.revision(found)
	}
	return item
}

// value is the item's value, as JSON; empty for a tombstone. The native value takes
// precedence if it differs from the JSON: it is the one that users see and edit.
func (l *layout) value(found attributes) ledger.Value {
	if l.tombstone(found) {
		return ""
	}
	written, err := ledger.ParseValue(stringOf(found[l.JSON]))
	v, edited := found[l.Value]
	if err == nil {
		if n, e := l.native(written); !edited || e == nil && equal(n, v) {
			return written
		}
	}
	if !edited {
		return ""
	}
	if list, ok := v.(*types.AttributeValueMemberL); ok && l.sample() && written != "" && written[0] == '{' && len(list.Value) == 1 {
		v = list.Value[0]
	}
	edit, err := plain(v)
	if err != nil {
		return ""
	}
	return edit
}

func (l *layout) tombstone(found attributes) bool {
	deleted, ok := found[l.Deleted].(*types.AttributeValueMemberBOOL)
	return ok && deleted.Value != l.sample()
}

// revision is the revision that the item claims, 0 without one.
func (l *layout) revision(found attributes) ledger.Revision {
	n, ok := found[l.Revision].(*types.AttributeValueMemberN)
	if !ok {
		return 0
	}
	rev, err := strconv.ParseUint(n.Value, 10, 64)
	if err != nil {
		return 0
	}
	return ledger.Revision(rev)
}

func stringOf(v types.AttributeValue) string {
	if s, ok := v.(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// Same compares everything that Write writes. Attributes that the layout does not name
// belong to other programs: Write does not change them, and Same ignores them.
func (s *sink) Same(item projector.Item, w projector.Write) bool {
	found, ok := item.State.(attributes)
	if !ok || item.Tenant != w.Tenant || item.Key != w.Key {
		return false
	}
	want, err := s.render(w)
	return err == nil && s.layout.equal(found, want)
}

// equal compares two items except for their keys and attributes outside of the layout.
func (l *layout) equal(a, b attributes) bool {
	for _, name := range l.attributes() {
		if !equal(a[name], b[name]) {
			return false
		}
	}
	return true
}
