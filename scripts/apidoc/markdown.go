package main

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/stelehq/stele/schemas/openapi"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// before and after are the parts of docs/api.md without a descriptor.
var (
	//go:embed before.md
	before string
	//go:embed after.md
	after string
)

// page is docs/api.md as it is written.
type page struct {
	strings.Builder
	listed map[protoreflect.FullName]bool
	// anchors are the methods' sections that list their requests and answers.
	anchors map[protoreflect.FullName]string
	later   []protoreflect.MessageDescriptor // listed under Messages
}

func (p *page) say(format string, args ...any) { fmt.Fprintf(&p.Builder, format, args...) }

// markdown is docs/api.md.
func (a *api) markdown() []byte {
	p := &page{listed: make(map[protoreflect.FullName]bool), anchors: make(map[protoreflect.FullName]string)}
	p.say("%s", before)
	for _, s := range a.services {
		for _, m := range s.methods {
			for _, d := range []protoreflect.MessageDescriptor{m.Input(), m.Output()} {
				if p.anchors[d.FullName()] == "" {
					p.anchors[d.FullName()] = anchor(s, m)
				}
			}
		}
		p.say("\n**[%s](#%s)**\n\n| method | REST | needs | |\n| --- | --- | --- | --- |\n", s.name, strings.ToLower(s.name))
		for _, m := range s.methods {
			p.say("| [%s](#%s) | %s | %s | %s |\n", m.Name(), anchor(s, m), paths(m, "<br>"), m.needs, strings.TrimPrefix(summary(m.comment), string(m.Name())+" "))
		}
	}
	for _, s := range a.services {
		p.say("\n## %s\n\n%s\n", s.name, s.comment)
		for _, m := range s.methods {
			p.method(s, m)
		}
	}
	p.say("\n## Messages\n")
	for len(p.later) > 0 {
		m := p.later[0]
		p.later = p.later[1:]
		p.say("\n### %s\n\n", m.Name())
		if text := comment(m); text != "" {
			p.say("%s\n\n", text)
		}
		p.fields(m)
	}
	p.say("\n%s", after)
	return []byte(p.String())
}

func (p *page) method(s service, m method) {
	p.say("\n### %s.%s\n\n%s\n\n", s.name, m.Name(), m.comment)
	p.say("- REST: %s\n", paths(m, ", "))
	p.say("- Needs: %s\n", m.needs)
	for _, side := range []struct {
		what   string
		m      protoreflect.MessageDescriptor
		stream bool
	}{{"Request", m.Input(), m.IsStreamingClient()}, {"Answer", m.Output(), m.IsStreamingServer()}} {
		what := side.what
		if side.stream {
			what = map[string]string{"Request": "Each request", "Answer": "Each answer"}[what]
		}
		if side.m.Fields().Len() == 0 {
			p.say("- %s: empty\n", what)
			continue
		}
		p.say("\n%s, `%s`:\n\n", what, side.m.Name())
		p.fields(side.m)
	}
}

func (p *page) fields(m protoreflect.MessageDescriptor) {
	p.say("| field | type | |\n| --- | --- | --- |\n")
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		var about []string
		if one := f.ContainingOneof(); one != nil && !one.IsSynthetic() {
			about = append(about, fmt.Sprintf("*One of %s.*", one.Name()))
		}
		if text := strings.ReplaceAll(comment(f), "\n\n", "<br>"); text != "" {
			about = append(about, text)
		}
		if text := words(f); text != "" {
			about = append(about, "("+text+")")
		}
		p.say("| `%s` | %s | %s |\n", f.Name(), p.kind(f), strings.ReplaceAll(strings.Join(about, " "), "|", `\|`))
	}
}

// kind is a field's type, and notes its remarks.
func (p *page) kind(f protoreflect.FieldDescriptor) string {
	kind := f.Kind().String()
	switch {
	case f.IsMap():
		return "map"
	case f.Message() != nil && strings.HasPrefix(string(f.Message().FullName()), "google."):
		kind = string(f.Message().Name())
	case f.Message() != nil:
		m := f.Message()
		section, ofMethod := p.anchors[m.FullName()]
		if !ofMethod {
			section = strings.ToLower(string(m.Name()))
			if !p.listed[m.FullName()] {
				p.listed[m.FullName()] = true
				p.later = append(p.later, m)
			}
		}
		kind = fmt.Sprintf("[%s](#%s)", m.Name(), section)
	case f.Enum() != nil:
		var names []string
		for i := range f.Enum().Values().Len() {
			names = append(names, "`"+string(f.Enum().Values().Get(i).Name())+"`")
		}
		kind = strings.Join(names, ", ")
	case openapi.FormOf(f) == openapi.Value:
		kind = "JSON"
	}
	switch {
	case f.IsList():
		return "list of " + kind
	case f.HasOptionalKeyword():
		return kind + ", optional"
	}
	return kind
}

func anchor(s service, m method) string { return strings.ToLower(s.name + string(m.Name())) }

// paths are those that a method answers.
func paths(m method, between string) string {
	var out []string
	for _, b := range m.rest {
		out = append(out, fmt.Sprintf("`%s %s`", strings.ToUpper(b.verb), b.path))
	}
	if m.FullName() == "stele.v1.Config.Watch" {
		out = append(out, "`GET /v1/watch`")
	}
	if m.FullName() == "stele.v1.Ledger.WatchAllCommits" {
		out = append(out, "`GET /v1/all-commits:watch`")
	}
	if m.FullName() == "stele.v1.Ledger.Commit" {
		out = append(out, "`PUT /v1/config/{key}`", "`DELETE /v1/config/{key}`")
	}
	if len(out) == 0 {
		return "gRPC only"
	}
	return strings.Join(out, between)
}
