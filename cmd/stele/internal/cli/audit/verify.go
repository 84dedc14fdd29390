package audit

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
)

// verifyOptions are the flags of verify.
type verifyOptions struct {
	key        keyOptions
	data, save string
	from       []string
	restored   bool
}

func VerifyCommand(c *session.Flags) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [FILE...]",
		Short: "Verify a receipt, an audit file, a tenant or a whole ledger",
		Long: `Verify that history is unchanged, with only the ledger's public key.

With FILEs, verify receipts of "stele prove", audit files of "stele audit
export", or checkpoints, without a network and without a context.

Without FILEs, verify the tenant at the gateway: the newest checkpoint, the hash
of every commit, its place in the chain and in the tree, and that the state
which the gateway serves is the result of these commits. --save saves the
checkpoint; --from proves later that the ledger extends it.

With --data, verify the folder of a stopped ledger: every stream of the journal,
the chains of all tenants, the tree, every checkpoint, and the files that are
derived from them. Nothing in the folder is changed. --restored is for a folder
that "stele restore" has created and that was not started yet: it does not have
the derived files.

With --witness-key, a checkpoint verifies only if a quorum of these witnesses
has cosigned it. Then not even the holder of the ledger's key can show different
histories to different users. The newest checkpoint of each ledger is kept next
to the context file and compared with the checkpoints that this and other
gateways show later.

The exit code is 7 if something does not verify. docs/proof.md describes the
formats.`,
		Example: `  stele verify receipt --key checkpoint.pub
  stele -t acme verify --save today.checkpoint
  stele -t acme verify --from today.checkpoint
  stele verify receipt --key log.pub --witness-key w1.pub --witness-key w2.pub
  stele verify --data stele-data`,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 0 && (o.data != "" || o.save != "" || len(o.from) > 0):
			return failure.Usagef("--data, --from and --save are not for files")
		case o.data != "" && len(o.key.witnesses) > 0:
			return failure.Usagef("--witness-key is not for --data: a ledger keeps its checkpoints without cosignatures")
		case o.restored && o.data == "":
			return failure.Usagef("--restored is for --data")
		case o.data != "" && o.save != "":
			return failure.Usagef("--save is for a tenant at a gateway: a stopped ledger's checkpoints are in its folder")
		case len(args) > 0:
			return verifyFiles(c, args, o.key)
		case o.data != "":
			return unverified(verifyData(cmd.Context(), c, o))
		case len(o.from) > 1:
			return failure.Usagef("--from is given %d times: give the newest checkpoint that you have", len(o.from))
		}
		s, err := c.Connect()
		if err != nil {
			return err
		}
		defer s.Conn.Close()
		return unverified(verifyTenant(s.ActFor(cmd.Context()), s, o))
	}
	o.key.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.data, "data", "", "folder of a ledger that is stopped")
	cmd.Flags().BoolVar(&o.restored, "restored", false, "with --data: it was restored from a backup and has not run yet")
	cmd.Flags().StringArrayVar(&o.from, "from", nil, "file with a checkpoint that the ledger must extend")
	cmd.Flags().StringVar(&o.save, "save", "", "file for the checkpoint that was verified")
	return cmd
}

// treeWords names a size of a ledger's tree.
func treeWords(epoch fmt.Stringer, size int64) string {
	return fmt.Sprintf("ledger %s at %s", epoch, output.Count(int(size), "commit"))
}
