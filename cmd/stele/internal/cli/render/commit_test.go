package render_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stelehq/stele/cmd/stele/internal/changefile"
	"github.com/stelehq/stele/cmd/stele/internal/changelog"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Every commit that the log prints can be imported and applied, whatever its origin is, and
// the importer learns the kind of the origin.
func TestCommitObject_IsReadAgain(t *testing.T) {
	kinds := (*stelev1.Origin)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		t.Run(string(kinds.Get(i).Name()), func(t *testing.T) { readAgain(t, kinds.Get(i)) })
	}
}

func readAgain(t *testing.T, kind protoreflect.FieldDescriptor) {
	origin := &stelev1.Origin{}
	fields := origin.ProtoReflect().Mutable(kind).Message()
	for i := range fields.Descriptor().Fields().Len() {
		setAny(fields, fields.Descriptor().Fields().Get(i))
	}
	at := timestamppb.New(timestamppb.Now().AsTime().Add(-1e9))
	info := &stelev1.CommitInfo{
		Id: []byte("id"), EffectiveTime: at, PreviousValues: []string{"1"},
		Commit: &stelev1.Commit{
			Tenant: "acme", Revision: 2, Parent: []byte("parent"), Time: at, Author: "ann", ByOperator: true, Message: "m", RequestId: "r", Origin: origin,
			Changes: []*stelev1.Change{{Key: "a/b", Value: "2", PreviousRevision: 1}},
		},
	}
	if kind.Name() == "clock" {
		info.Commit.Changes, info.PreviousValues = nil, nil
	}
	text, err := json.Marshal(render.CommitObject(info))
	if err != nil {
		t.Fatal(err)
	}
	if name, _ := render.Origin(origin); name == "" {
		t.Error("users do not see the origin")
	}
	log, err := changelog.NewReader(strings.NewReader(string(text)), "")
	if err != nil {
		t.Fatal(err)
	}
	line, err := log.Next()
	if kind.Name() == "clock" { // it has no changes: the other lines say by which time they count
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s is read as %v, %v", text, line, err)
		}
		return
	}
	if err != nil || line.Origin != string(kind.Name()) || line.ID != "6964" || len(line.ChangeSet.Changes) != 1 {
		t.Errorf("%s is read as %+v, %v", text, line, err)
	}
	if file, err := changefile.Parse(text); err != nil || file.Tenant != "acme" || len(file.Changes) != 1 {
		t.Errorf("%s is applied as %+v, %v", text, file, err)
	}
}

// setAny sets a field to a value that is not its zero value.
func setAny(m protoreflect.Message, f protoreflect.FieldDescriptor) {
	of := map[protoreflect.Kind]any{
		protoreflect.StringKind: "text", protoreflect.BytesKind: []byte("bytes"), protoreflect.Uint64Kind: uint64(7), protoreflect.BoolKind: true,
	}
	switch {
	case f.IsList() && of[f.Kind()] != nil:
		m.Mutable(f).List().Append(protoreflect.ValueOf(of[f.Kind()]))
	case f.Kind() == protoreflect.MessageKind && !f.IsList():
		m.Mutable(f) // an empty message that is set
	default:
		m.Set(f, protoreflect.ValueOf(of[f.Kind()]))
	}
}
