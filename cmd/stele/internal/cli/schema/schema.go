// Package schema has the commands for the schemas that values must match.
package schema

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/schema"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func SchemaCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Manage the JSON Schemas that define valid values",
		Long: `A JSON Schema (2020-12) defines which values a key, and all keys below it, can
have. It is the value of the key _schema/PREFIX, so you can query its history
and roll it back like any setting. Changes that violate it are rejected. With -t
_system it applies to every tenant. docs/schemas.md describes schemas.`,
		Example: `  stele schema set tenantconfig/timeout_ms '{"type":"integer","minimum":1}'
  stele schema test tenantconfig/checkout/timeout_ms 0
  stele schema check`,
	}
	cmd.AddCommand(schemaSetCommand(c), schemaDeleteCommand(c), schemaGetCommand(c), schemaListCommand(c), schemaCheckCommand(c), schemaTestCommand(c))
	return cmd
}

// schemaKey is the key that holds a prefix's schema.
func schemaKey(prefix string) (ledger.Key, error) {
	key, err := schema.KeyOf(ledger.Prefix(prefix))
	if err != nil {
		return "", failure.With(failure.Invalid, err)
	}
	return key, nil
}

func schemaGetCommand(c *session.Flags) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:               "get PREFIX",
		Short:             "Print the schema of a prefix",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: schemaPrefixes(c),
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		key, err := schemaKey(args[0])
		if err != nil {
			return err
		}
		point, err := s.At(ctx, at)
		if err != nil {
			return err
		}
		resp, err := s.Config.Get(ctx, &stelev1.GetRequest{Key: string(key), At: point})
		if err != nil {
			return err
		}
		if s.Format == output.Text {
			return s.Printf("%s\n", resp.Entry.Value)
		}
		return s.Object(json.RawMessage([]byte(resp.Entry.Value)))
	})
	cmd.Flags().StringVar(&at, "at", "", "revision or time to read")
	return cmd
}

func schemaListCommand(c *session.Flags) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "list [PREFIX]",
		Short: "List the schemas that apply to a tenant's keys",
		Long: `List the schemas that apply to a tenant's keys, or for those that begin with a
prefix: its own schemas, the schemas of its bases, and the platform's schemas in
_system.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: schemaPrefixes(c),
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		point, err := s.At(ctx, at)
		if err != nil {
			return err
		}
		resp, err := stelev1.NewSchemasClient(s.Conn).ListSchemas(ctx, &stelev1.ListSchemasRequest{Prefix: session.FirstArg(args), At: point})
		if err != nil {
			return err
		}
		var rows [][]string
		for _, d := range resp.Schemas {
			of := string(s.Tenant)
			switch {
			case d.Platform:
				of = string(ledger.System)
			case d.Base != "":
				of = d.Base
			}
			if s.Format != output.Text {
				if err := s.Object(schemaObject{d.Prefix, d.Revision, d.Platform, d.Base, json.RawMessage(d.Document)}); err != nil {
					return err
				}
				continue
			}
			rows = append(rows, []string{d.Prefix, render.Revision(of + ledger.Revision(d.Revision).String()), d.Document})
		}
		if len(rows) == 0 {
			return nil
		}
		return s.Table([]string{"PREFIX", "SET BY", "SCHEMA"}, rows, 2)
	})
	cmd.Flags().StringVar(&at, "at", "", "revision or time to read; the platform's are those of now")
	return cmd
}

// schemaObject is a schema, for programs.
type schemaObject struct {
	Prefix   string          `json:"prefix"`
	Revision uint64          `json:"revision"`
	Platform bool            `json:"platform,omitempty"`
	Base     string          `json:"base,omitempty"`
	Schema   json.RawMessage `json:"schema"`
}

func schemaSetCommand(c *session.Flags) *cobra.Command {
	var w session.WriteFlags
	var file string
	cmd := &cobra.Command{
		Use:   "set PREFIX -f FILE|SCHEMA",
		Short: "Set the schema of a prefix",
		Long: `Set the schema of a prefix: a JSON text, or a file in YAML or JSON, "-" for
standard input. It applies to the key PREFIX and all keys below it, unless a
longer prefix has a schema.

If current values violate it, the schema is rejected and the keys are listed,
unless --allow-invalid is given: then those values stay.`,
		Example: `  stele schema set tenantconfig/timeout_ms '{"type":"integer","minimum":1}'
  stele schema set tenantconfig/checkout -f schema.yaml -m "reject typos"
  stele -t _system schema set tenantconfig/flags '{"type":"boolean"}'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || (len(args) == 2) == (file != "") || len(args) > 2 {
				return fmt.Errorf("set takes a prefix, and a schema or -f FILE")
			}
			return nil
		},
		ValidArgsFunction: schemaPrefixes(c),
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		key, err := schemaKey(args[0])
		if err != nil {
			return err
		}
		document, err := readSchema(file, args[1:])
		if err != nil {
			return err
		}
		cs := &ledger.ChangeSet{Changes: []ledger.Change{{Key: key, Value: document}}}
		if err := w.Into(cs); err != nil {
			return err
		}
		return s.Commit(ctx, cmd, cs)
	})
	w.Add(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", `file with the schema, "-" for standard input`)
	return cmd
}

func schemaDeleteCommand(c *session.Flags) *cobra.Command {
	var w session.WriteFlags
	cmd := &cobra.Command{
		Use:               "delete PREFIX",
		Short:             "Delete the schema of a prefix",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: schemaPrefixes(c),
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		key, err := schemaKey(args[0])
		if err != nil {
			return err
		}
		cs := &ledger.ChangeSet{Changes: []ledger.Change{{Key: key, Delete: true}}}
		if err := w.Into(cs); err != nil {
			return err
		}
		return s.Commit(ctx, cmd, cs)
	})
	w.Add(cmd)
	return cmd
}
