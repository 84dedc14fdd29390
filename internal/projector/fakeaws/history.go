package fakeaws

import (
	"fmt"
	"slices"
)

type historyIn struct {
	Name           string
	WithDecryption bool
	MaxResults     *int
	NextToken      string
}

type historyEntry struct {
	metadata
	Value  string
	Labels []string
}

type historyOut struct {
	Parameters []historyEntry
	NextToken  string `json:",omitempty"`
}

func (s *Parameters) getParameterHistory(in historyIn) (*historyOut, error) {
	p := s.byName[canonical(in.Name)]
	if p == nil {
		return nil, fail("ParameterNotFound", "Parameter %s not found.", in.Name)
	}
	limit := 50
	if in.MaxResults != nil {
		limit = *in.MaxResults
	}
	if limit < 1 || limit > 50 {
		return nil, invalid("1 validation error detected: Value '%d' at 'maxResults' failed to satisfy constraint: Member must have value between 1 and 50", limit)
	}
	start := 0
	if in.NextToken != "" {
		after, err := readToken(in.NextToken)
		if err != nil {
			return nil, err
		}
		start = slices.IndexFunc(p.versions, func(v Version) bool { return versionMark(v) > after })
		if start < 0 {
			start = len(p.versions)
		}
	}
	end := min(start+limit, len(p.versions))
	out := &historyOut{Parameters: []historyEntry{}}
	for _, v := range p.versions[start:end] {
		e := historyEntry{metadata: v.metadata(), Value: v.reveal(in.WithDecryption), Labels: slices.Concat([]string{}, v.Labels)}
		out.Parameters = append(out.Parameters, e)
	}
	if end < len(p.versions) {
		out.NextToken = writeToken(versionMark(p.versions[end-1]))
	}
	return out, nil
}

// versionMark sorts as versions do.
func versionMark(v Version) string { return fmt.Sprintf("%019d", v.Version) }
