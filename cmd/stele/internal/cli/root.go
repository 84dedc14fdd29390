package cli

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/access"
	"github.com/stelehq/stele/cmd/stele/internal/cli/audit"
	"github.com/stelehq/stele/cmd/stele/internal/cli/bases"
	"github.com/stelehq/stele/cmd/stele/internal/cli/health"
	"github.com/stelehq/stele/cmd/stele/internal/cli/history"
	"github.com/stelehq/stele/cmd/stele/internal/cli/importcmd"
	"github.com/stelehq/stele/cmd/stele/internal/cli/keys"
	"github.com/stelehq/stele/cmd/stele/internal/cli/promote"
	"github.com/stelehq/stele/cmd/stele/internal/cli/rotate"
	"github.com/stelehq/stele/cmd/stele/internal/cli/routes"
	"github.com/stelehq/stele/cmd/stele/internal/cli/schema"
	"github.com/stelehq/stele/cmd/stele/internal/cli/server"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/cli/sinks"
	"github.com/stelehq/stele/cmd/stele/internal/cli/tenants"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/cmd/stele/internal/version"
)

func RootCommand(c *session.Flags) *cobra.Command {
	root := &cobra.Command{
		Use:   "stele",
		Short: "A configuration ledger: who changed what and why, and any past state",
		Long: `Stele is a configuration ledger. Every write is a commit in an immutable log;
"stele up" runs everything on this machine.

Revisions are written @42, @HEAD, @HEAD~1, @2h (ago) or @2025-03-04T08:00Z. A
PREFIX "a/b" is the key a/b and all keys below it, "a/b/" only those below it,
and "a/b*" all keys that begin with these characters.

Exit codes: 0 success, 1 error, 2 usage, 3 not found, 4 conflict, 5 permission
denied, 6 invalid value, 7 verification failed or history changed, 130
interrupted.`,
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			_, err := output.ParseFormat(c.Format)
			c.Started = err == nil
			return err
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.Choice.Context, "context", "", "context to use [$STELE_CONTEXT]")
	flags.StringVar(&c.Choice.Address, "address", "", "gateway's host:port, or several separated by commas, of which the first reachable is used [$STELE_ADDRESS]")
	flags.StringVar(&c.Choice.TokenFile, "token-file", "", "file with the token [$STELE_TOKEN_FILE, or the token in $STELE_TOKEN]")
	flags.StringVar(&c.Choice.TLSCA, "tls-ca", "", "file with the CA of the gateway's certificate [$STELE_TLS_CA]")
	flags.StringVarP(&c.Choice.Tenant, "tenant", "t", "", "tenant to act for [$STELE_TENANT]")
	flags.DurationVar(&c.Timeout, "timeout", 15*time.Second, "timeout of a read or write, for example 5s")
	flags.StringVarP(&c.Format, "output", "o", string(output.Text), "text, json (one object per line) or yaml")
	session.CompleteFlag(root, "context", session.ContextNames)
	session.CompleteFlag(root, "output", cobra.FixedCompletions([]string{"text", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))

	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"read", "Read:", []*cobra.Command{
			keys.GetCommand(c), keys.ListCommand(c), keys.GrepCommand(c), keys.WatchCommand(c), keys.ExportCommand(c), keys.ExecCommand(c),
		}},
		{"write", "Write:", []*cobra.Command{
			keys.SetCommand(c), keys.EditCommand(c), keys.CopyCommand(c), keys.MoveCommand(c), keys.DeleteCommand(c), keys.ApplyCommand(c), promote.PromoteCommand(c), importcmd.ImportCommand(c),
		}},
		{"history", "History:", []*cobra.Command{
			history.LogCommand(c), history.ShowCommand(c), history.DiffCommand(c), history.BlameCommand(c), history.BisectCommand(c), history.RollbackCommand(c), history.RevertCommand(c),
		}},
		{"operate", "Operate:", []*cobra.Command{
			server.UpCommand(), server.ServeCommand(), server.WitnessCommand(), health.StatusCommand(c), health.GatewaysCommand(c), health.DoctorCommand(c), health.ReadyCommand(), server.BackupCommand(c), server.RestoreCommand(c),
			tenants.TenantsCommand(c), tenants.TenantCommand(c), bases.BaseCommand(c), routes.RoutesCommand(c), sinks.SinksCommand(c), schema.SchemaCommand(c), server.NatsPermissionsCommand(c), server.NatsInstallCommand(),
		}},
		{"security", "Security:", []*cobra.Command{
			access.WhoamiCommand(c), access.CanCommand(c), access.TokenCommand(c), audit.AuditCommand(c), audit.ProveCommand(c), audit.VerifyCommand(c), rotate.RotateCommand(c),
		}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, cmd := range g.commands {
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(versionCommand(), contextCommand(c))
	known(root)
	friendly(root)
	wrapUsage(root)
	return root
}
