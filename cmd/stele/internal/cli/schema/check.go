package schema

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/argvalue"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/input"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func schemaCheckCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [PREFIX]",
		Short: "Find current values that violate their schemas",
		Long: `Check the current values, or those under a prefix, against the schemas in force.
With -t _system, check the values of all tenants against the platform's schemas.
The exit code is 6 if a value violates its schema.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		resp, err := stelev1.NewSchemasClient(s.Conn).CheckLive(ctx, &stelev1.CheckLiveRequest{Prefix: session.FirstArg(args)})
		if err != nil {
			return err
		}
		return printBroken(s, resp.Broken)
	})
	return cmd
}

func schemaTestCommand(c *session.Flags) *cobra.Command {
	var file string
	var asString, asJSON bool
	cmd := &cobra.Command{
		Use:   "test KEY VALUE | test PREFIX --schema FILE",
		Short: "Test a value or a schema without writing",
		Long: `Check a value against the schemas in force for a key, or the current values
below a prefix against a schema that is not set yet. Nothing is written. The
exit code is 6 if the value or the schema would be rejected. VALUE is parsed as
by "stele set".`,
		Example: `  stele schema test tenantconfig/checkout/timeout_ms '"fast"'
  stele schema test tenantconfig/checkout --schema checkout.schema.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if file == "" && len(args) != 2 || file != "" && len(args) != 1 {
				return fmt.Errorf("test takes a key and a value, or a prefix and --schema FILE")
			}
			return nil
		},
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		schemas := stelev1.NewSchemasClient(s.Conn)
		if file == "" {
			values := argvalue.Reader{String: asString, JSON: asJSON, Stdin: os.Stdin, Warn: output.Warn}
			value, err := values.Value(args[1])
			if err != nil {
				return failure.With(failure.Invalid, err)
			}
			resp, err := schemas.CheckValue(ctx, &stelev1.CheckValueRequest{Key: args[0], Value: string(value)})
			if err != nil {
				return err
			}
			return printChecked(s, args[0], resp)
		}
		document, err := readSchema(file, nil)
		if err != nil {
			return err
		}
		resp, err := schemas.CheckSchema(ctx, &stelev1.CheckSchemaRequest{Prefix: args[0], Document: string(document)})
		if err != nil {
			return err
		}
		return printBroken(s, resp.Broken)
	})
	cmd.Flags().StringVar(&file, "schema", "", `file with a schema to try, "-" for standard input`)
	cmd.Flags().BoolVar(&asString, "string", false, "take the value as a string, without a warning")
	cmd.Flags().BoolVar(&asJSON, "json", false, "refuse a value that is not JSON")
	cmd.MarkFlagsMutuallyExclusive("string", "json")
	return cmd
}

// readSchema reads a schema from a file, YAML or JSON, or from an argument.
func readSchema(file string, args []string) (ledger.Value, error) {
	var data []byte
	if file != "" {
		text, err := input.Read(file)
		if err != nil {
			return "", err
		}
		root, err := yamljson.Parse(text)
		if err == nil {
			data, err = yamljson.ToJSON(root)
		}
		if err != nil {
			return "", failure.With(failure.Invalid, fmt.Errorf("%s: %w", file, err))
		}
	} else {
		data = []byte(args[0])
	}
	v, err := ledger.ParseValue(string(data))
	if err != nil {
		return "", failure.With(failure.Invalid, err)
	}
	return v, nil
}

// printChecked prints the result for a value.
func printChecked(s *session.Session, key string, resp *stelev1.CheckValueResponse) error {
	for _, v := range resp.Violations {
		if err := printViolation(s, v, ""); err != nil {
			return err
		}
	}
	switch {
	case len(resp.Violations) > 0:
		return failure.With(failure.Invalid, fmt.Errorf("%s would be refused", key))
	case resp.Schemas == 0:
		return render.Nothing(s.Printer, "no schema applies to "+key)
	}
	return render.Nothing(s.Printer, fmt.Sprintf("%s: fine, by %s", key, output.Count(int(resp.Schemas), "schema")))
}

// violated is a place in a value that violates a schema, for programs.
type violated struct {
	Pointer string `json:"pointer"`
	Keyword string `json:"keyword"`
	Schema  string `json:"schema"`
	Why     string `json:"why"`
	Found   string `json:"found,omitempty"`
}

func violatedObject(v *stelev1.SchemaViolation) violated {
	return violated{v.Pointer, v.Keyword, v.Schema, v.Description, v.Found}
}

func printViolation(s *session.Session, v *stelev1.SchemaViolation, indent string) error {
	if s.Format != output.Text {
		return s.Object(violatedObject(v))
	}
	line := "the value " + v.Description
	if v.Pointer != "" {
		line = "at " + v.Pointer + " " + v.Description
	}
	if v.Found != "" {
		line += ", and is " + v.Found
	}
	return s.Printf("%s%s  %s\n", indent, output.Plain(line), output.Faint.Render(output.Plain(v.Schema)))
}

// brokenValue is an existing value that violates its schemas, for programs.
type brokenValue struct {
	Tenant     ledger.Tenant `json:"tenant,omitempty"`
	Key        string        `json:"key"`
	Revision   uint64        `json:"revision"`
	Base       *render.Base  `json:"base,omitempty"`
	Violations []violated    `json:"violations"`
}

// printBroken lists existing values that violate their schemas.
func printBroken(s *session.Session, b *stelev1.BrokenValues) error {
	for _, v := range b.First {
		of := s.Tenant
		if v.Tenant != "" {
			of = ledger.Tenant(v.Tenant)
		}
		if err := printBrokenValue(s, of, v); err != nil {
			return err
		}
	}
	skipped := ""
	if b.NotChecked > 0 {
		skipped = fmt.Sprintf("; %s not checked: that requires the reveal permission", output.Count(int(b.NotChecked), "secret"))
	}
	if b.Count == 0 {
		return render.Nothing(s.Printer, output.Count(int(b.Checked), "live value")+": fine"+skipped)
	}
	more := ""
	if n := int(b.Count) - len(b.First); n > 0 {
		more = fmt.Sprintf(", and %d of them are not shown", n)
	}
	return failure.With(failure.Invalid, fmt.Errorf("%d of %s violate their schemas%s%s", b.Count, output.Count(int(b.Checked), "live value"), more, skipped))
}

func printBrokenValue(s *session.Session, of ledger.Tenant, v *stelev1.BrokenValue) error {
	if s.Format != output.Text {
		o := brokenValue{Tenant: of, Key: v.Key, Revision: v.Revision, Base: render.BaseObject(v.Base)}
		for _, violation := range v.Violations {
			o.Violations = append(o.Violations, violatedObject(violation))
		}
		return s.Object(o)
	}
	inherited := ""
	if v.Base != nil {
		inherited = ", inherited from " + render.SetBy(v.Revision, v.Base)
	}
	if err := s.Printf("%s  %s%s\n", v.Key, render.Revision(fmt.Sprintf("%s%s", of, ledger.Revision(v.Revision))), inherited); err != nil {
		return err
	}
	for _, violation := range v.Violations {
		if err := printViolation(s, violation, "    "); err != nil {
			return err
		}
	}
	return nil
}

// schemaPrefixes completes the prefix of a schema that is set, and else a key.
func schemaPrefixes(c *session.Flags) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		var found []string
		c.WithSession(cmd, func(ctx context.Context, s *session.Session) {
			resp, err := stelev1.NewSchemasClient(s.Conn).ListSchemas(ctx, &stelev1.ListSchemasRequest{Prefix: toComplete + "*"})
			if err != nil {
				return
			}
			for _, d := range resp.Schemas {
				found = append(found, d.Prefix)
			}
		})
		keys, directive := c.CompleteKey(cmd, args, toComplete)
		return append(found, keys...), directive
	}
}
