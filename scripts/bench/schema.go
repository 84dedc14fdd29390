package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/stelehq/stele/scripts/bench/peer"
)

var schemas = row{
	name:  "schemas",
	about: "commits with a schema and without (2 min)",
	run:   apart([]int{1}, measureSchemas, justStele),
}

// valueSchema is the schema of the values in the measurement.
const valueSchema = `{
	"type": "object", "required": ["name", "timeout_ms"], "additionalProperties": false,
	"properties": {
		"name": {"type": "string", "maxLength": 300, "pattern": "^[a-z]+$"},
		"timeout_ms": {"type": "integer", "minimum": 1, "maximum": 60000},
		"beta": {"type": "boolean"},
		"hosts": {"type": "array", "maxItems": 8, "items": {"enum": ["a", "b", "c"]}}
	}
}`

// schemaRounds is how often each is measured, in turn: what else the machine does
// falls on all of them.
const schemaRounds = 5

// measureSchemas compares commits to a tenant that has a schema for its keys with
// commits to one without.
func measureSchemas(ctx context.Context, s *session) error {
	sec := section{
		"Commits with a schema",
		fmt.Sprintf("One object of 330 bytes a commit, to a tenant without schemas and to one whose keys have one; the median of %d measurements of each, in turn.", schemaRounds),
	}
	for _, callers := range []int{1, 64} {
		c, err := s.dial(ctx, callers)
		if err != nil {
			return err
		}
		err = s.compareSchemas(ctx, sec, c, callers)
		if closed := c.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *session) compareSchemas(ctx context.Context, sec section, c peer.Client, callers int) error {
	w := c.(peer.SetWriter)
	tenants := []string{"without", "with"}
	if err := w.WriteSet(ctx, tenants[1], []peer.Entry{{Key: "_schema/tenantconfig", Value: valueSchema}}); err != nil {
		return err
	}
	var samples [2][]sample
	for range schemaRounds {
		for i, t := range tenants {
			sm, err := s.closedLoop(ctx, callers, func(ctx context.Context, rng *rand.Rand) error {
				text := randomValue(rng)
				value := fmt.Sprintf(`{"name":%s,"timeout_ms":%d,"beta":true,"hosts":["a","b"]}`, text, 1+rng.IntN(60_000))
				return w.WriteSet(ctx, t, []peer.Entry{{Key: s.data.key(rng), Value: value}})
			})
			if err != nil {
				return err
			}
			samples[i] = append(samples[i], sm)
		}
	}
	var medians [2]sample
	for i, name := range []string{"without a schema", "with a schema"} {
		slices.SortFunc(samples[i], func(a, b sample) int { return int(a.rate - b.rate) })
		medians[i] = samples[i][schemaRounds/2]
		s.report.rate(sec, name+", "+count(callers, "caller", "callers"), s.peer, medians[i], "", nil)
	}
	s.report.detail(sec, s.peer, fmt.Sprintf("%s: %.1f %% of the rate without a schema", count(callers, "caller", "callers"), 100*medians[1].rate/medians[0].rate))
	return nil
}
