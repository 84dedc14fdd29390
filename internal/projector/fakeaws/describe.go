package fakeaws

import (
	"encoding/base64"
	"math/rand/v2"
	"slices"
	"strings"
)

type filter struct {
	Key    string
	Option string
	Values []string
}

type describeIn struct {
	ParameterFilters []filter
	Filters          []filter
	MaxResults       *int
	NextToken        string
	Shared           bool
}

type metadata struct {
	ARN              string
	Name             string
	Type             string
	Tier             string
	Version          int64
	DataType         string
	Description      string `json:",omitempty"`
	KeyID            string `json:"KeyId,omitempty"`
	AllowedPattern   string `json:",omitempty"`
	LastModifiedDate float64
	LastModifiedUser string
}

func (v Version) metadata() metadata {
	return metadata{
		ARN: arn(v.Name), Name: v.Name, Type: v.Type, Tier: v.Tier, Version: v.Version, DataType: v.DataType,
		Description: v.Description, KeyID: v.KeyID, AllowedPattern: v.AllowedPattern,
		LastModifiedDate: seconds(v.Modified), LastModifiedUser: "arn:aws:iam::" + Account + ":user/fake",
	}
}

type describeOut struct {
	Parameters []metadata
	NextToken  string `json:",omitempty"`
}

func (s *Parameters) describeParameters(in describeIn) (*describeOut, error) {
	if in.Filters != nil || in.Shared {
		return nil, fail("UnsupportedOperationException", "the fake knows ParameterFilters alone, and shares nothing")
	}
	for i, f := range in.ParameterFilters {
		if err := f.check(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(in.ParameterFilters[:i], func(g filter) bool { return g.Key == f.Key }) {
			return nil, invalid("The following filters are duplicated in the request: %s. A request can contain only one instance of a specific filter.", f.Key)
		}
	}
	found, next, err := s.pageOf(s.describable(), in.MaxResults, 50, in.NextToken, func(p *parameter) bool {
		return !slices.ContainsFunc(in.ParameterFilters, func(f filter) bool { return !f.match(p) })
	})
	if err != nil {
		return nil, err
	}
	out := &describeOut{Parameters: []metadata{}, NextToken: next}
	for _, v := range found {
		out.Parameters = append(out.Parameters, v.metadata())
	}
	return out, nil
}

// options that a filter may have, by its key; the first is the one that it has when
// it names none.
var options = map[string][]string{
	"Name":     {"Equals", "BeginsWith", "Contains"},
	"Path":     {"OneLevel", "Recursive"},
	"Type":     {"Equals", "BeginsWith"},
	"KeyId":    {"Equals", "BeginsWith"},
	"Tier":     {"Equals", "BeginsWith"},
	"DataType": {"Equals", "BeginsWith"},
}

func (f *filter) option() string {
	if f.Option == "" {
		return f.options()[0]
	}
	return f.Option
}

func (f *filter) options() []string {
	if strings.HasPrefix(f.Key, "tag:") {
		return []string{"Equals", "BeginsWith"}
	}
	return options[f.Key]
}

func (f *filter) check() error {
	if len(f.options()) == 0 {
		return fail("InvalidFilterKey", "The specified key isn't valid: %s", f.Key)
	}
	if !slices.Contains(f.options(), f.option()) {
		return fail("InvalidFilterOption", "The following filter option is not valid: %s. Valid options include: %v", f.Option, f.options())
	}
	if len(f.Values) < 1 || len(f.Values) > 50 {
		return fail("InvalidFilterValue", "The filter %s has %d values, not 1 to 50", f.Key, len(f.Values))
	}
	for _, value := range f.Values {
		if f.Key != "Path" {
			continue
		}
		if !strings.HasPrefix(value, "/") || strings.Contains(value, "//") {
			return invalid("The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash \"/\": %s", value)
		}
	}
	return nil
}

func (f *filter) match(p *parameter) bool {
	v := p.newest()
	var field string
	switch f.Key {
	case "Name", "Path":
		field = v.Name
	case "Type":
		field = v.Type
	case "KeyId":
		field = v.KeyID
	case "Tier":
		field = v.Tier
	case "DataType":
		field = v.DataType
	default:
		tagged, ok := p.tags[strings.TrimPrefix(f.Key, "tag:")]
		if !ok {
			return false
		}
		field = tagged
	}
	return slices.ContainsFunc(f.Values, func(value string) bool {
		switch f.option() {
		case "BeginsWith":
			return strings.HasPrefix(field, value)
		case "Contains":
			return strings.Contains(field, value)
		case "Recursive", "OneLevel":
			return under(value, field, f.option() == "Recursive")
		default:
			return field == value || f.Key == "Name" && canonical(field) == canonical(value)
		}
	})
}

// under reports whether a parameter is in a path.
func under(path, name string, recursive bool) bool {
	if !strings.HasPrefix(name, "/") {
		name = "/" + name
	}
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(path, "/")+"/")
	return ok && rest != "" && (recursive || !strings.Contains(rest, "/"))
}

// describable are the parameters that DescribeParameters returns, with Faults.DescribedAt
// an older state.
func (s *Parameters) describable() map[string]*parameter {
	then := s.faults.DescribedAt
	if then.IsZero() {
		return s.byName
	}
	known := make(map[string]*parameter)
	for name, changes := range s.changes {
		p := &parameter{}
		for _, c := range changes {
			switch {
			case c.at.After(then):
			case c.Deleted:
				p.versions = nil
			default:
				p.versions = append(p.versions, c.Version)
			}
		}
		if len(p.versions) == 0 {
			continue
		}
		if is := s.byName[name]; is != nil {
			p.tags = is.tags
		}
		known[name] = p
	}
	return known
}

type byPathIn struct {
	Path             string
	Recursive        bool
	WithDecryption   bool
	ParameterFilters []filter
	MaxResults       *int
	NextToken        string
}

type byPathOut struct {
	Parameters []parameterOut
	NextToken  string `json:",omitempty"`
}

func (s *Parameters) getParametersByPath(in byPathIn) (*byPathOut, error) {
	if !strings.HasPrefix(in.Path, "/") || strings.Contains(in.Path, "//") {
		return nil, invalid("The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash \"/\". It can't be prefixed with \"aws\" or \"ssm\" (case-insensitive).")
	}
	for _, f := range in.ParameterFilters {
		if f.Key != "Type" && f.Key != "KeyId" {
			return nil, fail("InvalidFilterKey", "The following filter key is not valid: %s. Valid filter keys include: [Type, KeyId].", f.Key)
		}
		if err := f.check(); err != nil {
			return nil, err
		}
	}
	found, next, err := s.page(in.MaxResults, 10, in.NextToken, func(p *parameter) bool {
		return under(in.Path, p.newest().Name, in.Recursive) &&
			!slices.ContainsFunc(in.ParameterFilters, func(f filter) bool { return !f.match(p) })
	})
	if err != nil {
		return nil, err
	}
	out := &byPathOut{Parameters: []parameterOut{}, NextToken: next}
	for _, v := range found {
		p, err := s.show(v, "", in.WithDecryption)
		if err != nil {
			return nil, err
		}
		out.Parameters = append(out.Parameters, p)
	}
	return out, nil
}

// page finds parameters in the order of their names, at most as many as asked for,
// and the token that the next page begins with.
func (s *Parameters) page(size *int, most int, token string, wanted func(*parameter) bool) (found []Version, next string, err error) {
	return s.pageOf(s.byName, size, most, token, wanted)
}

func (s *Parameters) pageOf(all map[string]*parameter, size *int, most int, token string, wanted func(*parameter) bool) (found []Version, next string, err error) {
	limit := most
	if size != nil {
		limit = *size
	}
	if limit < 1 || limit > most {
		return nil, "", invalid("1 validation error detected: Value '%d' at 'maxResults' failed to satisfy constraint: Member must have value between 1 and %d", limit, most)
	}
	if s.faults.ShortPages {
		limit = rand.IntN(limit + 1)
	}
	after, err := readToken(token)
	if err != nil {
		return nil, "", err
	}
	var names []string
	for name, p := range all {
		if name > after && wanted(p) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > limit {
		names = names[:limit]
		next = writeToken(slices.Max(append(names, after)))
	}
	for _, name := range names {
		found = append(found, all[name].newest())
	}
	return found, next, nil
}

const tokenMark = "after "

func writeToken(after string) string {
	return base64.URLEncoding.EncodeToString([]byte(tokenMark + after))
}

func readToken(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	b, err := base64.URLEncoding.DecodeString(token)
	after, ok := strings.CutPrefix(string(b), tokenMark)
	if err != nil || !ok {
		return "", fail("InvalidNextToken", "The specified token isn't valid.")
	}
	return after, nil
}
