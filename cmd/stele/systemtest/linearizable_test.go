package systemtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// The operations on one key whose order Porcupine looks for. Each is linearizable: a refusal
// is answered only after the journal has confirmed the state that it is due to.
const (
	opSet   = "set"   // without a condition
	opSwap  = "swap"  // if the key still has the revision expected
	opProbe = "probe" // a swap that must be refused: it reads the key's revision
)

type keyInput struct {
	key      string
	op       string
	expected uint64
}

type keyOutput struct {
	// revision that was written, or that a refusal reported.
	revision uint64
	refused  bool
}

// keyModel is a key, whose state is the revision that has set it last.
var keyModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := make(map[string][]porcupine.Operation)
		for _, op := range history {
			key := op.Input.(keyInput).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		now, in, out := state.(uint64), input.(keyInput), output.(keyOutput)
		switch {
		case out.refused:
			return in.op != opSet && out.revision == now && in.expected != now, now
		case in.op == opProbe:
			return false, now
		case in.op == opSwap && in.expected != now:
			return false, now
		}
		return out.revision > now, out.revision
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

// linearizable reports whether an order of the operations explains all answers.
func linearizable(history []porcupine.Operation) bool {
	return porcupine.CheckOperationsTimeout(keyModel, history, time.Minute) == porcupine.Ok
}

// TestKeyModel_CatchesMutants gives the model histories that no linearizable ledger answers.
func TestKeyModel_CatchesMutants(t *testing.T) {
	set := func(call, end int64, revision uint64) porcupine.Operation {
		return porcupine.Operation{Input: keyInput{"k", opSet, 0}, Call: call, Output: keyOutput{revision: revision}, Return: end}
	}
	swap := func(call, end int64, expected, revision uint64, refused bool) porcupine.Operation {
		return porcupine.Operation{Input: keyInput{"k", opSwap, expected}, Call: call, Output: keyOutput{revision, refused}, Return: end}
	}
	probe := func(call, end int64, revision uint64) porcupine.Operation {
		return porcupine.Operation{Input: keyInput{"k", opProbe, 1 << 40}, Call: call, Output: keyOutput{revision, true}, Return: end}
	}
	for _, tt := range []struct {
		name    string
		history []porcupine.Operation
		want    bool
	}{
		{"one after the other", []porcupine.Operation{set(0, 1, 1), probe(2, 3, 1), swap(4, 5, 1, 2, false), probe(6, 7, 2)}, true},
		{"a probe meets a set", []porcupine.Operation{set(0, 1, 1), set(2, 5, 2), probe(3, 4, 1)}, true},
		{"a refused swap", []porcupine.Operation{set(0, 1, 1), set(2, 3, 2), swap(4, 5, 1, 2, true)}, true},
		{"a stale probe", []porcupine.Operation{set(0, 1, 1), set(2, 3, 2), probe(4, 5, 1)}, false},
		{"a lost write", []porcupine.Operation{set(0, 1, 1), probe(2, 3, 0)}, false},
		{"two swaps of one revision", []porcupine.Operation{set(0, 1, 1), swap(2, 9, 1, 2, false), swap(2, 9, 1, 3, false)}, false},
		{"a swap refused for no reason", []porcupine.Operation{set(0, 1, 1), swap(2, 3, 1, 1, true)}, false},
		{"a swap of a stale revision", []porcupine.Operation{set(0, 1, 1), set(2, 3, 2), swap(4, 5, 1, 3, false)}, false},
		{"a revision that goes back", []porcupine.Operation{set(0, 1, 2), set(2, 3, 1)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := linearizable(tt.history); got != tt.want {
				t.Errorf("linearizable is %v, want %v", got, tt.want)
			}
		})
	}
}
