package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
)

func auditExportCommand(c *session.Flags) *cobra.Command {
	var key keyOptions
	var since, until, file string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Export a tenant's commits with their proofs to a file",
		Long: `Write a tenant's commits with their proofs into one self-contained file, which
"stele verify FILE" verifies on another machine, without a network. --since and
--until take a revision or a time, both inclusive; without them, all commits are
exported. The command verifies the commits while it writes them.`,
		Example: `  stele -t acme audit export > acme.audit
  stele -t acme audit export --since 2025-01-01 --until 2025-12-31 -f acme.audit
  stele verify acme-2025.audit --key checkpoint.pub`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, _ []string) error {
		from, to, err := auditRange(ctx, s, since, until)
		if err != nil {
			return err
		}
		if file == "" {
			return unverified(auditExport(ctx, s, os.Stdout, key, from, to))
		}
		return unverified(replaceFile(file, func(w *os.File) error { return auditExport(ctx, s, w, key, from, to) }))
	})
	key.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&since, "since", "", "first revision, or time that no commit is before")
	cmd.Flags().StringVar(&until, "until", "", "last revision, or time that no commit is after")
	cmd.Flags().StringVarP(&file, "file", "f", "", "file to write, instead of standard output")
	return cmd
}

// auditExport writes the file, and describes its content on standard error.
func auditExport(ctx context.Context, s *session.Session, file *os.File, key keyOptions, from, to ledger.Revision) error {
	a, err := newAuditor(s, key)
	if err != nil {
		return err
	}
	c, err := a.Checkpoint(ctx, to)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(file, 1<<20)
	w, err := proof.NewAuditWriter(out, s.Tenant, from, to, c.Key, c.Signed)
	if err != nil {
		return err
	}
	bar := newCommitBar(int64(to - from + 1))
	err = a.Proofs(ctx, c, from, to, func(p proof.Proven) error {
		commit, err := w.Add(p)
		if err == nil {
			bar.seen(commit.Revision - from + 1)
		}
		return err
	})
	bar.close()
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(output.Stderr, "%s to %s, %s, proven by the checkpoint of %s\n",
		s.Name(uint64(from)), to, output.Count(int(to-from+1), "commit"), treeWords(c.Epoch, c.Size))
	return nil
}

// auditRange are the first and the last revision that the flags mean.
func auditRange(ctx context.Context, s *session.Session, since, until string) (from, to ledger.Revision, err error) {
	if until == "" {
		until = "@HEAD"
	}
	if to, err = revision(ctx, s, until); err != nil {
		return 0, 0, err
	}
	if from, err = s.FirstSince(ctx, since); err != nil {
		return 0, 0, err
	}
	if from > to {
		return 0, 0, failure.With(failure.Invalid, fmt.Errorf("the range is empty: no commit of %s is since %s and until %s", s.Tenant, since, until))
	}
	return from, to, nil
}

// replaceFile writes a file next to its target, and renames it when it is complete.
func replaceFile(name string, write func(*os.File) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return fmt.Errorf("create %s: %w", name, errors.Unwrap(err)) // which names the temporary file
	}
	defer os.Remove(tmp.Name())
	if err := errors.Join(write(tmp), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}
