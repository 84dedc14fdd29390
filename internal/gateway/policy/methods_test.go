package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stelehq/stele/internal/gateway/policy"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// elsewhere are the services of the schemas that a gateway does not serve.
var elsewhere = map[protoreflect.FullName]bool{
	"stele.v1.CacheRefresh": true, // caches serve it
}

// A method of the schemas without a row, or with a row for another request, fails this test.
func TestMethods_EveryMethodOfTheSchemasHasARow(t *testing.T) {
	left := make(map[string]bool)
	for name := range policy.Methods {
		left[name] = !strings.HasPrefix(name, "/grpc.")
	}
	for _, pkg := range []protoreflect.FullName{"stele.v1", "flagd.sync.v1", "configuration"} {
		protoregistry.GlobalFiles.RangeFilesByPackage(pkg, func(file protoreflect.FileDescriptor) bool {
			for i := range file.Services().Len() {
				s := file.Services().Get(i)
				for j := range s.Methods().Len() {
					d := s.Methods().Get(j)
					name := fmt.Sprintf("/%s/%s", s.FullName(), d.Name())
					m := policy.Methods[name]
					delete(left, name)
					switch {
					case elsewhere[s.FullName()] != (m == nil):
						t.Errorf("%s: has a row %v, is served elsewhere %v", name, m != nil, elsewhere[s.FullName()])
					case m == nil:
					case m.Stream != (d.IsStreamingClient() || d.IsStreamingServer()):
						t.Errorf("%s: the row says stream %v", name, m.Stream)
					case m.Needs == policy.Public:
						if m.Request != nil || m.Limits != 0 || m.Records != 0 || m.Writes {
							t.Errorf("%s is public, and its row says more", name)
						}
					case m.Request.ProtoReflect().Descriptor().FullName() != d.Input().FullName():
						t.Errorf("%s: the row is for %s, not for %s", name, m.Request.ProtoReflect().Descriptor().FullName(), d.Input().FullName())
					case m.Needs == 0 || m.Limits == 0 || m.Records == 0:
						t.Errorf("%s: its row does not say what it needs, how limits apply, or what is recorded", name)
					}
				}
			}
			return true
		})
	}
	for name, is := range left {
		if is {
			t.Errorf("%s has a row and is in no schema", name)
		}
	}
}
