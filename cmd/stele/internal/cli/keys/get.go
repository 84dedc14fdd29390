// Package keys has the commands that read and write keys: get, list, watch, export, exec,
// set, delete and apply.
package keys

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/environ"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func GetCommand(c *session.Flags) *cobra.Command {
	var at string
	var asJSON, raw, reveal, explain bool
	var maxAge time.Duration
	cmd := &cobra.Command{
		Use:   "get KEY...",
		Short: "Print the values of keys",
		Long: `Print a key's value, now or at any point in the past: a string without its
quotes, any other value as JSON. Several keys are read from one revision and
printed as a table. The exit code is 3 if a key is not set.

--raw prints the bytes of one value and nothing after them. "***" stands for a
secret; --reveal prints it, which requires the reveal permission and is
recorded.

--explain shows where a value comes from: the tenant's own value and the value
in each of its bases, in their order.`,
		Example: `  stele get tenantconfig/checkout/timeout_ms
  stele get tenantconfig/checkout/timeout_ms --at @2h
  stele get paramconfig/tls/key --raw > key.pem
  stele get paramconfig/db/password --reveal
  stele get tenantconfig/checkout/timeout_ms --explain`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return fmt.Errorf("KEY is missing")
			case explain && len(args) > 1:
				return fmt.Errorf("--explain explains one value, and %d keys are named", len(args))
			case raw && len(args) > 1:
				return fmt.Errorf("--raw prints one value, and %d keys are named", len(args))
			}
			return nil
		},
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		for _, arg := range args {
			if _, err := ledger.ParseKey(arg); err != nil {
				err = failure.With(failure.Invalid, err)
				if key, rev, ok := strings.Cut(arg, "@"); ok {
					err = failure.Try(err, "stele get %s --at @%s", output.ShellQuote(key), output.ShellQuote(rev))
				}
				if strings.HasSuffix(arg, "/") {
					err = failure.Try(failure.With(failure.Invalid, fmt.Errorf("%q is a prefix, and get reads keys", arg)), "stele list %s", arg)
				}
				return err
			}
		}
		if maxAge > 0 {
			ctx = c.FailIfOlder(ctx, maxAge)
		}
		point, err := s.At(ctx, at)
		if err != nil {
			return err
		}
		if explain {
			return explainValue(ctx, s, args[0], point)
		}
		if len(args) > 1 {
			return getSeveral(ctx, s, &stelev1.BatchGetRequest{Keys: args, At: point, Reveal: reveal})
		}
		resp, err := s.Config.Get(ctx, &stelev1.GetRequest{Key: args[0], At: point, Reveal: reveal})
		if status.Code(err) == codes.NotFound {
			if absent := s.Absent(ctx); absent != nil {
				return absent
			}
			if near := nearKeys(ctx, s, args[0], point); near != "" {
				err = failure.Try(err, "%s", near)
			}
		}
		if err != nil {
			return err
		}
		switch value := ledger.Value(resp.Entry.Value); {
		case raw:
			return s.Write([]byte(environ.Bare(value)))
		case s.Format != output.Text:
			return s.Object(render.EntryObject(resp.Entry))
		case asJSON:
			return s.Write([]byte(value + "\n"))
		default:
			return s.Write([]byte(environ.Bare(value) + "\n"))
		}
	})
	cmd.Flags().StringVar(&at, "at", "", "revision or time to read")
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print secrets")
	cmd.Flags().BoolVar(&explain, "explain", false, "show the tenant's own value and the value in each of its bases")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a string as JSON")
	cmd.Flags().BoolVar(&raw, "raw", false, "print the bytes of the value, without a newline")
	cmd.Flags().DurationVar(&maxAge, "max-age", 0, "fail if the gateway's data is older, for example 30s (default: only warn above 5s)")
	cmd.MarkFlagsMutuallyExclusive("json", "raw", "explain")
	cmd.MarkFlagsMutuallyExclusive("reveal", "explain")
	return cmd
}

// getSeveral prints several keys of one revision. Those that are not set are an error.
func getSeveral(ctx context.Context, s *session.Session, req *stelev1.BatchGetRequest) error {
	resp, err := s.Config.BatchGet(ctx, req)
	if err != nil {
		return err
	}
	if s.Format != output.Text {
		for _, e := range resp.Entries {
			if err := s.Object(render.EntryObject(e)); err != nil {
				return err
			}
		}
	} else if len(resp.Entries) > 0 {
		if err := entryTable(s.Printer, resp.Entries); err != nil {
			return err
		}
	}
	if len(resp.Missing) > 0 {
		return failure.With(failure.NotFound, fmt.Errorf("%s %s not set", strings.Join(resp.Missing, ", "), isOrAre(len(resp.Missing))))
	}
	return nil
}

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// nearKeys suggests keys for one that is not set: keys below it, or keys whose spelling
// is close. Empty if there is nothing to suggest.
func nearKeys(ctx context.Context, s *session.Session, key string, at *stelev1.At) string {
	below, err := s.Config.List(ctx, &stelev1.ListRequest{Prefix: key + "/", At: at, KeysOnly: true, PageSize: 1})
	if err == nil && len(below.Entries) > 0 {
		return fmt.Sprintf("stele list %s/, which lists the keys below it", key)
	}
	tag, _, _ := strings.Cut(key, "/")
	const most = 10_000 // looked at
	resp, err := s.Config.List(ctx, &stelev1.ListRequest{Prefix: tag[:min(len(tag), 1)] + "*", At: at, KeysOnly: true, PageSize: most})
	if err != nil {
		return ""
	}
	type candidate struct {
		key      string
		distance int
	}
	var near []candidate
	for _, e := range resp.Entries {
		if d := session.Distance(e.Key, key); d <= max(2, len(key)/8) {
			near = append(near, candidate{e.Key, d})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	var names []string
	for _, c := range near[:min(len(near), 3)] {
		names = append(names, c.key)
	}
	if len(names) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(names, " or ") + "?"
}
