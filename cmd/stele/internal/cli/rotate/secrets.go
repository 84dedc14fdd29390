package rotate

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger/secret"
)

func secretsKeyCommand() *cobra.Command {
	var add, promote, prune bool
	cmd := &cobra.Command{
		Use:   "secrets-key FILE (--add | --promote | --prune)",
		Short: "Rotate the key that encrypts tenants' keys",
		Long: `Change the file of the secrets key (--secrets-key), in three steps. After each,
copy FILE to all processes and restart them before you take the next step:

  --add      add a new key, which decrypts but does not encrypt yet
  --promote  encrypt with the new key; then run "stele rotate tenant-key --all"
  --prune    remove all other keys

"stele up" is one process: --add and --promote can be given together. What the
file held before is in FILE.before. AWS KMS rotates its keys itself.`,
		Example: `  stele rotate secrets-key stele-data/identity/secrets.key --add --promote
  stele rotate tenant-key --all
  stele rotate secrets-key stele-data/identity/secrets.key --prune`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var steps []func([]byte) ([]byte, error)
			switch {
			case prune && (add || promote), !prune && !add && !promote:
				return failure.Usagef("give --add, --promote or --prune")
			case prune:
				steps = append(steps, secret.PruneKEK)
			default:
				if add {
					steps = append(steps, secret.AddKEK)
				}
				if promote {
					steps = append(steps, secret.PromoteKEK)
				}
			}
			err := editSecret(args[0], func(text []byte) (_ []byte, err error) {
				for _, step := range steps {
					if text, err = step(text); err != nil {
						break
					}
				}
				return text, err
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is changed; restart the processes on it. What it held before is in %[1]s.before\n", args[0])
			return err
		},
	}
	cmd.Flags().BoolVar(&add, "add", false, "add a new key")
	cmd.Flags().BoolVar(&promote, "promote", false, "encrypt with the key that was added last")
	cmd.Flags().BoolVar(&prune, "prune", false, "remove all keys but the one that encrypts")
	return cmd
}
