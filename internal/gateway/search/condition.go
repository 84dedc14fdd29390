package search

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
)

// maxConditionCost is what one evaluation of a condition may cost, in CEL's units: about
// one per operation or ten bytes of text. A unit takes as long as 200 steps of a pattern:
// some 2 microseconds.
const (
	maxConditionCost = 100_000
	stepsPerCost     = 200
)

// condition is an expression in CEL over a key and its value.
type condition struct {
	program cel.Program
}

// environment declares the variables of conditions.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(cel.Variable("key", cel.StringType), cel.Variable("value", cel.DynType), cel.CrossTypeNumericComparisons(true), cel.ParserRecursionLimit(50))
})

// compile checks a condition. Its error says what is wrong and where.
func compile(text string) (*condition, error) {
	env, err := environment()
	if err != nil {
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
	program, err := env.Program(ast, cel.CostLimit(maxConditionCost), cel.InterruptCheckFrequency(100))
	if err != nil {
		return nil, err
	}
	return &condition{program}, nil
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
