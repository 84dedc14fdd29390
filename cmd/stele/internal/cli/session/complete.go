package session

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// WithSession connects for as long as a shell waits. It reports no errors: without a
// connection there is nothing to complete with.
func (c *Flags) WithSession(cmd *cobra.Command, ask func(context.Context, *Session)) {
	s, err := c.Connect()
	if err != nil {
		return
	}
	defer s.Conn.Close()
	ctx, cancel := context.WithTimeout(s.ActFor(cmd.Context()), 2*time.Second)
	defer cancel()
	ask(ctx, s)
}

// CompleteKey completes a key one segment at a time.
func (c *Flags) CompleteKey(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	found := make(map[string]bool)
	c.WithSession(cmd, func(ctx context.Context, s *Session) {
		req := &stelev1.ListRequest{Prefix: toComplete + "*", KeysOnly: true, PageSize: 10_000}
		// The results before an error or the timeout are used.
		_ = s.Entries(ctx, req, func(es []*stelev1.Entry) error {
			for _, e := range es {
				found[segment(e.Key, toComplete)] = true
			}
			return nil
		})
	})
	directive := cobra.ShellCompDirectiveNoFileComp
	for f := range found {
		if strings.HasSuffix(f, "/") {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
	}
	return slices.Sorted(maps.Keys(found)), directive
}

// segment is the key up to the end of the segment that is being typed.
func segment(key, typed string) string {
	if i := strings.IndexByte(key[len(typed):], '/'); i >= 0 {
		return key[:len(typed)+i+1]
	}
	return key
}

// CompleteSink completes the first argument, a sink.
func (c *Flags) CompleteSink(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) == 0 {
		c.WithSession(cmd, func(ctx context.Context, s *Session) {
			resp, _ := s.Sinks.ListSinks(ctx, &stelev1.ListSinksRequest{})
			for _, st := range resp.GetSinks() {
				names = append(names, st.Name)
			}
		})
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// CompleteSinkAndKey completes a sink and then a key.
func (c *Flags) CompleteSinkAndKey(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return c.CompleteKey(cmd, args, toComplete)
	}
	return c.CompleteSink(cmd, args, toComplete)
}

// ContextNames completes the name of a context.
func ContextNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	path, err := contexts.Path()
	if err != nil {
		return nil, none
	}
	f, err := contexts.Load(path)
	if err != nil {
		return nil, none
	}
	return slices.Sorted(maps.Keys(f.Contexts)), none
}

// CompleteFlag registers a flag's completion.
func CompleteFlag(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // the flag is not there: a mistake in this program
	}
}

// FirstArg returns the first argument, or "" if there is none.
func FirstArg(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
