package patch

import "slices"

// pair is an element of the old array and the same one of the new array, by index.
type pair struct{ a, b int }

// maxEdits bounds the search for a shortest script between two anchors: its time is
// the number of elements times this, and its memory the square of this. Elements that
// differ more are compared place by place.
const maxEdits = 256

// align returns the elements that two arrays have in common, in their order. Elements
// that occur once in each array are anchors, as in a patience diff; between two
// anchors it is a longest common subsequence, as far as maxEdits allows.
func align(a, b []any) ([]pair, error) {
	ids := make(map[string]int)
	x, err := identify(ids, a)
	if err != nil {
		return nil, err
	}
	y, err := identify(ids, b)
	if err != nil {
		return nil, err
	}
	var pairs []pair
	i, j := 0, 0
	for _, p := range append(anchors(x, y, len(ids)), pair{len(x), len(y)}) {
		pairs = between(pairs, x, y, pair{i, j}, p)
		if p.a < len(x) {
			pairs = append(pairs, p)
		}
		i, j = p.a+1, p.b+1
	}
	return pairs, nil
}

// identify gives equal elements the same number.
func identify(ids map[string]int, elements []any) ([]int, error) {
	out := make([]int, len(elements))
	for i, e := range elements {
		text, err := marshal(e) // members in the order of their names
		if err != nil {
			return nil, err
		}
		id, known := ids[string(text)]
		if !known {
			id = len(ids)
			ids[string(text)] = id
		}
		out[i] = id
	}
	return out, nil
}

// anchors returns the longest sequence of elements that occur once in each array and
// in the same order in both.
func anchors(x, y []int, ids int) []pair {
	countX, countY, placeY := make([]int, ids), make([]int, ids), make([]int, ids)
	for _, id := range x {
		countX[id]++
	}
	for j, id := range y {
		countY[id]++
		placeY[id] = j
	}
	var unique []pair
	for i, id := range x {
		if countX[id] == 1 && countY[id] == 1 {
			unique = append(unique, pair{i, placeY[id]})
		}
	}
	// The longest increasing subsequence of the places in y: tops[n] is the pair with
	// the smallest place that ends a sequence of n+1 pairs, before the one before it.
	var tops []int
	before := make([]int, len(unique))
	for n, p := range unique {
		at, _ := slices.BinarySearchFunc(tops, p.b, func(top, b int) int { return unique[top].b - b })
		if before[n] = -1; at > 0 {
			before[n] = tops[at-1]
		}
		if at == len(tops) {
			tops = append(tops, n)
		} else {
			tops[at] = n
		}
	}
	out := make([]pair, len(tops))
	if len(tops) > 0 {
		for n, i := tops[len(tops)-1], len(tops)-1; n >= 0; n, i = before[n], i-1 {
			out[i] = unique[n]
		}
	}
	return out
}

// between appends the pairs of x[from.a:to.a] and y[from.b:to.b].
func between(pairs []pair, x, y []int, from, to pair) []pair {
	for from.a < to.a && from.b < to.b && x[from.a] == y[from.b] {
		pairs = append(pairs, from)
		from = pair{from.a + 1, from.b + 1}
	}
	tail := 0
	for from.a < to.a-tail && from.b < to.b-tail && x[to.a-tail-1] == y[to.b-tail-1] {
		tail++
	}
	to = pair{to.a - tail, to.b - tail}
	for _, p := range shortest(x[from.a:to.a], y[from.b:to.b]) {
		pairs = append(pairs, pair{from.a + p.a, from.b + p.b})
	}
	for i := range tail {
		pairs = append(pairs, pair{to.a + i, to.b + i})
	}
	return pairs
}

// shortest is the algorithm of Myers: the pairs of a longest common subsequence, or
// none if more than maxEdits elements are inserted and removed.
func shortest(x, y []int) []pair {
	if len(x) == 0 || len(y) == 0 {
		return nil
	}
	const middle = maxEdits + 1
	// furthest[middle+k] is how far in x a path on diagonal k has come.
	furthest := make([]int, 2*middle+1)
	var trace [][]int
	for d := 0; d <= min(maxEdits, len(x)+len(y)); d++ {
		trace = append(trace, slices.Clone(furthest[middle-d:middle+d+1]))
		for k := -d; k <= d; k += 2 {
			i := 0
			if k == -d || k != d && furthest[middle+k-1] < furthest[middle+k+1] {
				i = furthest[middle+k+1] // y[j] is inserted
			} else {
				i = furthest[middle+k-1] + 1 // x[i] is removed
			}
			for i < len(x) && i-k < len(y) && x[i] == y[i-k] {
				i++
			}
			if furthest[middle+k] = i; i >= len(x) && i-k >= len(y) {
				return retrace(trace, len(x), len(y))
			}
		}
	}
	return nil
}

// retrace goes back through the steps of a search. trace[d] holds the diagonals -d to
// d as they were before step d.
func retrace(trace [][]int, i, j int) []pair {
	var pairs []pair
	for d := len(trace) - 1; d >= 0; d-- {
		at := func(k int) int {
			if k < -d || k > d {
				return -1
			}
			return trace[d][d+k]
		}
		k := i - j
		startI, startJ := 0, 0
		if d > 0 {
			if k == -d || k != d && at(k-1) < at(k+1) {
				startI = at(k + 1)
				startJ = startI - (k + 1)
			} else {
				startI = at(k - 1)
				startJ = startI - (k - 1)
			}
		}
		for i > startI && j > startJ {
			i, j = i-1, j-1
			pairs = append(pairs, pair{i, j})
		}
		i, j = startI, startJ
	}
	slices.Reverse(pairs)
	return pairs
}
