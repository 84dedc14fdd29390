package search

import (
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// bytesPerCost is how many bytes of text an operation reads or writes for a unit of cost.
// instructionsPerCost is how many instructions of a pattern are compiled for a unit.
const (
	bytesPerCost        = 10
	instructionsPerCost = 10
)

// costs is what the operations of a condition cost. CEL's own estimate takes the size of a
// text, and every operation whose types are known only when it runs, for a single step.
//
// The cost of an operation is known when it is done, so no operation may take long.
type costs struct {
	value   int // the size of the searched value, in bytes of JSON
	pattern pattern
}

// CallCost implements interpreter.ActualCostEstimator.
func (c *costs) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	cost := 1 + (textSize(result)+textSize(args...))/bytesPerCost
	lists := false
	for _, arg := range args {
		_, list := arg.(traits.Lister)
		_, fields := arg.(traits.Mapper)
		lists = lists || list || fields
	}
	switch function {
	case operators.Equals, operators.NotEquals, operators.In, operators.OldIn:
		if lists { // it may compare all that the value holds
			cost += c.value / bytesPerCost
		}
	case operators.Add:
		if lists { // the joined list would be compared element by element through both
			cost = maxConditionCost + 1
		}
	case overloads.Matches:
		if len(args) == 2 {
			cost += textSize(args[0])*c.pattern.size/stepsPerCost + c.pattern.compiled/instructionsPerCost
			c.pattern.compiled = 0
		}
	}
	n := uint64(cost)
	return &n
}

// textSize is the size of the texts among the values, in bytes.
func textSize(values ...ref.Val) (n int) {
	for _, v := range values {
		switch v := v.(type) {
		case types.String:
			n += len(v)
		case types.Bytes:
			n += len(v)
		}
	}
	return n
}
