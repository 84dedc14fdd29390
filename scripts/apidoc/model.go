package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/stelehq/stele/internal/gateway/policy"
	"go.yaml.in/yaml/v3"
	_ "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// api is the served API, in the order of the files.
type api struct {
	services []service
}

type service struct {
	name, comment string
	methods       []method
}

type method struct {
	protoreflect.MethodDescriptor
	comment string
	needs   string
	rest    []binding
}

// binding is a path that the method answers.
type binding struct {
	verb, path string
	body       bool
	fields     []string // those in the path
}

// files in the order in which their services are listed.
var files = []string{"stele/v1/config.proto", "stele/v1/ledger.proto", "stele/v1/bases.proto", "stele/v1/schemas.proto", "stele/v1/proof.proto", "stele/v1/sinks.proto"}

func load(descriptors, bindings string) (*api, error) {
	raw, err := os.ReadFile(descriptors)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("read the descriptors: %w", err)
	}
	registry, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("link the descriptors: %w", err)
	}
	rules, err := readBindings(bindings)
	if err != nil {
		return nil, err
	}
	a := &api{}
	for _, name := range files {
		if err := a.add(registry, name, rules); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *api) add(registry *protoregistry.Files, file string, rules map[string][]binding) error {
	f, err := registry.FindFileByPath(file)
	if err != nil {
		return fmt.Errorf("find %s: %w", file, err)
	}
	for i := range f.Services().Len() {
		d := f.Services().Get(i)
		s := service{name: string(d.Name()), comment: comment(d)}
		for j := range d.Methods().Len() {
			m := d.Methods().Get(j)
			row := policy.Methods[fmt.Sprintf("/%s/%s", d.FullName(), m.Name())]
			if row == nil {
				return fmt.Errorf("%s has no row in internal/gateway/policy/methods.go", m.FullName())
			}
			s.methods = append(s.methods, method{m, comment(m), row.Needs.String(), rules[string(m.FullName())]})
		}
		a.services = append(a.services, s)
	}
	return nil
}

func readBindings(path string) (map[string][]binding, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	type rule struct {
		Selector, Get, Post, Body string
		Additional                []rule `yaml:"additional_bindings"`
	}
	var doc struct{ HTTP struct{ Rules []rule } }
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	out := make(map[string][]binding)
	for _, of := range doc.HTTP.Rules {
		for _, r := range append([]rule{of}, of.Additional...) {
			b := binding{verb: "get", path: r.Get, body: r.Body != ""}
			if r.Post != "" {
				b.verb, b.path = "post", r.Post
			}
			for _, field := range fieldInPath.FindAllStringSubmatch(b.path, -1) {
				b.fields = append(b.fields, field[1])
			}
			b.path = strings.ReplaceAll(b.path, "=**", "")
			out[of.Selector] = append(out[of.Selector], b)
		}
	}
	return out, nil
}

var fieldInPath = regexp.MustCompile(`\{(\w+)(?:=\*\*)?\}`)

// comment is a descriptor's, on one line except for its paragraphs.
func comment(d protoreflect.Descriptor) string {
	text := strings.TrimSpace(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments)
	paragraphs := regexp.MustCompile(`\n\s*\n`).Split(text, -1)
	for i, p := range paragraphs {
		paragraphs[i] = strings.Join(strings.Fields(p), " ")
	}
	return strings.Join(paragraphs, "\n\n")
}

// summary is a comment's first sentence, which begins with the name in Go's way.
func summary(comment string) string {
	first, _, _ := strings.Cut(comment, "\n")
	if i := strings.Index(first, ". "); i >= 0 {
		first = first[:i+1]
	}
	return first
}

func rulesOf(f protoreflect.FieldDescriptor) *validate.FieldRules {
	rules, _ := proto.GetExtension(f.Options(), validate.E_Field).(*validate.FieldRules)
	return rules
}
