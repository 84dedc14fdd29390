package search

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
)

// maxConditionCost is what one evaluation of a condition may cost, in the units of
// costs.CallCost: about one per operation or ten bytes of text. A unit takes as long as 200
// steps of a pattern: some 2 microseconds.
const (
	maxConditionCost = 100_000
	stepsPerCost     = 200
)

// condition is an expression in CEL over a key and its value.
type condition struct {
	program cel.Program
	costs   *costs
}

// environment declares the variables of conditions. It has no macro that builds lists: see
// onlyConstants.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	library := env.NewLibrarySubset().AddExcludedMacros("map", "filter").AddExcludedFunctions(env.NewFunction(overloads.Matches))
	return cel.NewCustomEnv(cel.StdLib(cel.StdLibSubset(library)),
		cel.Variable("key", cel.StringType), cel.Variable("value", cel.DynType), cel.CrossTypeNumericComparisons(true), cel.ParserRecursionLimit(50))
})

// onlyConstants rejects lists and maps that are not constant. A list that names a list twice,
// in a list that names that list twice, and so on, is short but takes forever to
// compare, and one comparison cannot be interrupted.
func onlyConstants(condition *cel.Ast) error {
	constant := make(map[int64]bool) // by the id of the expression
	var err error
	ast.PostOrderVisit(condition.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		all := true
		switch e.Kind() {
		case ast.LiteralKind:
		case ast.ListKind:
			for _, element := range e.AsList().Elements() {
				all = all && constant[element.ID()]
			}
		case ast.MapKind:
			for _, entry := range e.AsMap().Entries() {
				all = all && constant[entry.AsMapEntry().Key().ID()] && constant[entry.AsMapEntry().Value().ID()]
			}
		case ast.StructKind:
			all = false
		default:
			return
		}
		if constant[e.ID()] = all; !all && err == nil {
			err = errors.New("a list or map in a condition can hold constants only")
		}
	}))
	return err
}

// compile checks a condition. Its error says what is wrong and where.
func compile(text string) (*condition, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	costs := &costs{}
	if env, err = env.Extend(costs.pattern.function()); err != nil {
		return nil, err
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, fmt.Errorf("it is not a condition in CEL over key and value: column %d: %s",
			first.Location.Column()+1, strings.TrimSuffix(first.Message, " (in container '')"))
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("its result is of type %s; a condition is true or false, for example value > 5000", t)
	}
	if err := onlyConstants(ast); err != nil {
		return nil, err
	}
	program, err := env.Program(ast, cel.CostTracking(costs), cel.CostLimit(maxConditionCost), cel.InterruptCheckFrequency(10))
	if err != nil {
		return nil, err
	}
	return &condition{program, costs}, nil
}

// errNotComparable: the condition does not apply to a value, for example because it
// compares a number with text.
var errNotComparable = errors.New("the condition does not apply to the value")

// holds evaluates the condition, and returns what that has cost.
func (c *condition) holds(ctx context.Context, key ledger.Key, v ledger.Value) (yes bool, cost int, err error) {
	value, err := decode(v)
	if err != nil {
		return false, 0, err
	}
	c.costs.value = len(v)
	out, details, err := c.program.ContextEval(ctx, map[string]any{"key": string(key), "value": value})
	if n := details.ActualCost(); n != nil {
		cost = int(*n)
	}
	switch {
	case ctx.Err() != nil:
		return false, cost, ctx.Err()
	case err != nil:
		return false, cost, errNotComparable
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, cost, errNotComparable // the result is not true or false
	}
	return bool(b), cost, nil
}

// exactNumbers decodes numbers with decodeNumber.
var exactNumbers = json.WithUnmarshalers(json.UnmarshalFromFunc(decodeNumber))

// decode reads a value for CEL.
func decode(v ledger.Value) (out any, err error) {
	if err := json.Unmarshal([]byte(v), &out, exactNumbers); err != nil {
		return nil, fmt.Errorf("decode the value: %w", err)
	}
	return out, nil
}

// decodeNumber reads whole numbers exactly, as far as CEL's integers reach.
func decodeNumber(dec *jsontext.Decoder, to *any) error {
	if dec.PeekKind() != '0' {
		return errors.ErrUnsupported
	}
	number, err := dec.ReadValue()
	if err != nil {
		return err
	}
	if whole, err := strconv.ParseInt(string(number), 10, 64); err == nil {
		*to = whole
		return nil
	}
	if whole, err := strconv.ParseUint(string(number), 10, 64); err == nil {
		*to = whole
		return nil
	}
	*to, err = strconv.ParseFloat(string(number), 64)
	if errors.Is(err, strconv.ErrRange) { // the largest or the smallest number of its type
		err = nil
	}
	return err
}
