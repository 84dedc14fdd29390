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
	key, data, save string
	from            []string
	restored        bool
}

func VerifyCommand(c *session.Flags) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [FILE...]",
		Short: "Verify a receipt, an audit file, a tenant or a whole ledger",
		Long: `Verify that nothing was changed, with nothing but the ledger's public key.

With FILEs, which "stele prove" and "stele audit export" have written, or with bare
checkpoints: without a network and a context.

Without, the tenant at the gateway: the newest checkpoint, every commit's hash, its
place in the chain and in the tree, and that what the gateway reads is what the
commits lead to. --save keeps the checkpoint; the next time, --from proves that the
ledger still is an extension of it.

With --data, the folder of a ledger that is stopped: every stream of the journal, all
tenants' chains, the tree, every checkpoint, and the files that are made from them. Nothing in the folder is changed. --restored is for what "stele restore"
has made and nobody has started yet: those files are not there then.

What does not verify ends with exit code 7. docs/proof.md describes the formats.`,
		Example: `  stele verify receipt --key checkpoint.pub
  stele -t acme verify --save today.checkpoint
  stele -t acme verify --from today.checkpoint
  stele verify --data stele-data`,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 0 && (o.data != "" || o.save != "" || len(o.from) > 0):
			return failure.Usagef("--data, --from and --save are not for files")
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
	addKeyFlag(cmd, &o.key)
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
