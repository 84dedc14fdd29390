package rest

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// query reads a request from the URL's query. Unknown parameters, parameters that are
// in the path, and duplicates of a single one are errors.
type query struct{}

// Parse is how the mux asks for it; path holds the fields that the path has.
func (query) Parse(m proto.Message, values url.Values, path *utilities.DoubleArray) error {
	r := m.ProtoReflect()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		f := r.Descriptor().Fields().ByName(protoreflect.Name(name))
		if f == nil || nested(f) || path.HasCommonPrefix([]string{name}) {
			return wrong(shorten(name), "there is no such parameter")
		}
		if !f.IsList() && len(values[name]) > 1 {
			return wrong(name, "it is there more than once")
		}
		if one := f.ContainingOneof(); one != nil && r.WhichOneof(one) != nil {
			return wrong(name, "%s is also set: choose one", r.WhichOneof(one).Name())
		}
		for _, text := range values[name] {
			v, err := scalar(f, text, name)
			switch {
			case err != nil:
				return err
			case f.IsList():
				r.Mutable(f).List().Append(v)
			default:
				r.Set(f, v)
			}
		}
	}
	return nil
}

// parseQuery reads a query strictly: url.URL.Query drops invalid parts.
func parseQuery(raw string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	for name, all := range values {
		if !utf8.ValidString(name) || slices.ContainsFunc(all, func(v string) bool { return !utf8.ValidString(v) }) {
			return nil, errors.New("the query is not UTF-8")
		}
	}
	if err != nil {
		return nil, errors.New("cannot parse the query: escape characters other than letters and digits")
	}
	return values, nil
}
