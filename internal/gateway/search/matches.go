package search

import (
	"fmt"
	"regexp"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/stelehq/stele/internal/ledger/schema"
)

// pattern is the regular expression that a condition has matched last.
type pattern struct {
	text   string
	regexp *regexp.Regexp
	size   int // in instructions; at least 1 once it was compiled
	err    error
	// compiled is how many instructions were compiled since costs took them into account.
	compiled int
}

// function is the function matches of CEL, for patterns of at most maxProgram instructions.
// CEL's own has no limit, and its option for one panics on repetitions.
func (p *pattern) function() cel.EnvOption {
	two := []*cel.Type{cel.StringType, cel.StringType}
	return cel.Function(overloads.Matches,
		cel.Overload(overloads.Matches, two, cel.BoolType), cel.MemberOverload(overloads.MatchesString, two, cel.BoolType),
		cel.SingletonBinaryBinding(p.matches))
}

func (p *pattern) matches(text, pattern ref.Val) ref.Val {
	t, isText := text.(types.String)
	is, isPattern := pattern.(types.String)
	if !isText || !isPattern {
		return types.MaybeNoSuchOverloadErr(text)
	}
	if p.size == 0 || p.text != string(is) {
		p.compile(string(is))
	}
	if p.err != nil {
		return types.WrapErr(p.err)
	}
	return types.Bool(p.regexp.MatchString(string(t)))
}

func (p *pattern) compile(text string) {
	p.text = text
	p.regexp, p.size, p.err = schema.CompilePattern(text)
	p.compiled += p.size
	if p.size = max(p.size, 1); p.err == nil && p.size > maxProgram {
		p.err = fmt.Errorf("the pattern has more than %d instructions", maxProgram)
	}
}
