package rotate

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
)

func checkpointKeyCommand() *cobra.Command {
	var finish bool
	cmd := &cobra.Command{
		Use:   "checkpoint-key FILE",
		Short: "Add a successor to the key that signs checkpoints",
		Long: `Add a successor to the key in FILE. Restart the processes with the role signer
on the new file: the first of them signs a checkpoint that names the successor,
with both keys. From then on only the successor signs. Verifiers with the old
public key follow, because gateways send the handover with every checkpoint;
FILE.pub gets both.

When all signers run with the new file, --finish removes the old key from it.
The file from before is kept in FILE.before: destroy it then.`,
		Example: `  stele rotate checkpoint-key stele-data/identity/checkpoint.key
  stele rotate checkpoint-key stele-data/identity/checkpoint.key --finish`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			edit, what := addSuccessor, "has a successor: restart the signers on it, then use --finish"
			if finish {
				edit, what = dropOld, "has only the newest key"
			}
			if err := editSecret(args[0], edit); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s; what it held before is in %[1]s.before\n", args[0], what)
			return err
		},
	}
	cmd.Flags().BoolVar(&finish, "finish", false, "remove the old key, after all signers run with the successor")
	return cmd
}

func addSuccessor(text []byte) ([]byte, error) {
	key, err := proof.ParseKey(string(text))
	if err != nil {
		return nil, err
	}
	if key.Next() != "" {
		return nil, errors.New("the key has a successor already; use --finish when all signers run with it")
	}
	name, _, _ := strings.Cut(key.Public(), "+")
	epoch, err := ledger.ParseEpoch(strings.TrimPrefix(name, "stele/"))
	if err != nil {
		return nil, err
	}
	next, _, err := proof.GenerateKey(epoch)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s\n%s\n", strings.TrimSpace(string(text)), next), nil
}

func dropOld(text []byte) ([]byte, error) {
	if _, err := proof.ParseKey(string(text)); err != nil {
		return nil, err
	}
	lines := strings.Fields(string(text))
	return []byte(lines[len(lines)-1] + "\n"), nil
}
