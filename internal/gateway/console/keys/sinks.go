package keys

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/gateway/console/page"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/sync/errgroup"
)

// sinkOfKey is how far a sink is with a key.
type sinkOfKey struct {
	*stelev1.SinkStatus
	parked *stelev1.Parked // nil when it is not
}

// holds says whether the sink has everything up to a revision.
func (s sinkOfKey) holds(revision uint64) bool { return s.Position >= revision }

// mostParked is how many sinks are asked whether they have parked a key.
const mostParked = 3

// sinksOf returns the progress of the sinks: those in the key's route, or all of them
// if the user may not see the routes. A page is still correct without them, so an error
// leaves them out.
func sinksOf(ctx context.Context, v *page.View, key string) []sinkOfKey {
	var list *stelev1.ListSinksResponse
	var routed *stelev1.GetRoutesResponse
	err := page.Together(ctx, func(ctx context.Context) (err error) {
		list, err = v.Sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
		return err
	}, func(ctx context.Context) error {
		routed, _ = v.Sinks.GetRoutes(ctx, &stelev1.GetRoutesRequest{}) // for operators
		return nil
	})
	if err != nil {
		return nil
	}
	names, known := sinksIn(routed.GetRoutes(), key)
	list.Sinks = slices.DeleteFunc(list.Sinks, func(s *stelev1.SinkStatus) bool { return known && !slices.Contains(names, s.Name) })
	out := make([]sinkOfKey, len(list.Sinks))
	var group errgroup.Group
	asked := 0
	for i, s := range list.Sinks {
		out[i].SinkStatus = s
		if s.Parked == 0 || asked == mostParked {
			continue
		}
		asked++
		group.Go(func() error {
			parked, err := v.Sinks.ListParked(ctx, &stelev1.ListParkedRequest{Sink: s.Name})
			if err != nil {
				return nil
			}
			for _, p := range parked.Parked {
				if p.Key == key {
					out[i].parked = p
				}
			}
			return nil
		})
	}
	group.Wait()
	return out
}

// sinksIn are the sinks that a document of routes names for a key, in the route with
// the longest prefix. False if no document was found.
func sinksIn(document, key string) (names []string, known bool) {
	var d struct {
		Routes []struct {
			Prefix string   `json:"prefix"`
			Sinks  []string `json:"sinks"`
		} `json:"routes"`
	}
	if document == "" || json.Unmarshal([]byte(document), &d) != nil {
		return nil, false
	}
	longest := -1
	for _, r := range d.Routes {
		if strings.HasPrefix(key, r.Prefix) && len(r.Prefix) > longest {
			names, longest = r.Sinks, len(r.Prefix)
		}
	}
	return names, true
}
