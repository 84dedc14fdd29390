package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
)

func contextCommand(c *session.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "List, show and choose contexts",
		Long: `A context says how to reach a gateway, as which user and for which tenant.
"stele up" writes one for its data folder. They are in $STELE_CONFIG, or
stele/config.yaml in the user's configuration folder.`,
	}
	cmd.AddCommand(contextListCommand(c), contextUseCommand(), contextShowCommand(c))
	return cmd
}

// contextObject is a context as -o json and -o yaml print it.
type contextObject struct {
	Name      string `json:"name"`
	Current   bool   `json:"current"`
	Address   string `json:"address"`
	Tenant    string `json:"tenant,omitempty"`
	TokenFile string `json:"token_file,omitempty"`
	TLSCA     string `json:"tls_ca,omitempty"`
}

func objectOf(name string, f contexts.File) contextObject {
	c := f.Contexts[name]
	return contextObject{name, name == f.Current, c.Address, c.Tenant, c.TokenFile, c.TLSCA}
}

// loadContexts reads the context file and returns its path.
func loadContexts() (contexts.File, string, error) {
	path, err := contexts.Path()
	if err != nil {
		return contexts.File{}, "", err
	}
	f, err := contexts.Load(path)
	return f, path, err
}

func contextListCommand(c *session.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the contexts",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, path, err := loadContexts()
			if err != nil {
				return err
			}
			p := c.Printer()
			var rows [][]string
			for _, name := range slices.Sorted(maps.Keys(f.Contexts)) {
				o := objectOf(name, f)
				if p.Format != output.Text {
					if err := p.Object(o); err != nil {
						return err
					}
					continue
				}
				mark := ""
				if o.Current {
					mark = "*"
				}
				rows = append(rows, []string{mark, name, o.Address, o.Tenant, o.TokenFile})
			}
			switch {
			case p.Format != output.Text:
				return nil
			case len(rows) == 0:
				return p.Printf("%s has no contexts; \"stele up\" writes one\n", path)
			}
			return p.Table([]string{"", "CONTEXT", "ADDRESS", "TENANT", "TOKEN FILE"}, rows, -1)
		},
	}
}

func contextUseCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "Make a context the current one",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: session.ContextNames,
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := contexts.Path()
			if err != nil {
				return err
			}
			if err := contexts.Use(path, args[0]); err != nil {
				return failure.Try(failure.With(failure.NotFound, err), "stele context list")
			}
			return nil
		},
	}
}

func contextShowCommand(c *session.Flags) *cobra.Command {
	return &cobra.Command{
		Use:               "show [NAME]",
		Short:             "Show a context, the current one without a name",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: session.ContextNames,
		RunE: func(_ *cobra.Command, args []string) error {
			f, path, err := loadContexts()
			if err != nil {
				return err
			}
			name := f.Current
			if len(args) > 0 {
				name = args[0]
			}
			if _, ok := f.Contexts[name]; !ok {
				return failure.Try(failure.With(failure.NotFound, errNoContext(name, path)), "stele context list")
			}
			o := objectOf(name, f)
			p := c.Printer()
			if p.Format != output.Text {
				return p.Object(o)
			}
			for _, line := range [][2]string{{"context", name}, {"address", o.Address}, {"tenant", o.Tenant}, {"token file", o.TokenFile}, {"CA", o.TLSCA}, {"file", path}} {
				if line[1] == "" {
					continue
				}
				if err := p.Printf("%-10s  %s\n", line[0], line[1]); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func errNoContext(name, path string) error {
	if name == "" {
		return fmt.Errorf("%s has no current context", path)
	}
	return fmt.Errorf("context %q is not in %s", name, path)
}
