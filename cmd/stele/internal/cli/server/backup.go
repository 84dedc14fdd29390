package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/diagnosis"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal"
	"github.com/stelehq/stele/internal/ledger/verify"
)

// journalOptions are the flags of commands that access a journal directly: the journal
// of a "stele up" on this machine, or one on NATS servers.
type journalOptions struct {
	data      string
	nats      natsOptions
	plaintext bool
}

func (o *journalOptions) addFlags(cmd *cobra.Command, data string) {
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "stele-data", data)
	o.nats.addConnection(f)
	f.BoolVar(&o.plaintext, "plaintext", false, "allow plaintext to NATS servers on other machines")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return flagsFromEnvironment(cmd.Flags()) }
}

// journalDir is the folder of an embedded journal.
func journalDir(data string) string { return filepath.Join(data, "journal") }

func BackupCommand(c *session.Flags) *cobra.Command {
	var o journalOptions
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Back up a running ledger to a new directory",
		Long: `Back up a ledger's streams to a new directory while the ledger accepts writes:
commits, checkpoints, recorded reads, the encrypted keys of secrets, and the
progress of the sinks. The backup contains every commit that was acknowledged
before it began.

It reads the journal of the "stele up" whose data directory is --data, or the
NATS servers of --nats-url, with the permissions of the role backup (see "stele
nats-permissions").

The backup does not contain the ledger's own keys: keep the checkpoint key and
the secrets key elsewhere, otherwise secrets cannot be decrypted after a
restore.

What was written is read back and compared with the tree of a running process
with the role signer and with the newest checkpoint: no message may be missing,
and every tenant's commits must be one chain. If the ledger is damaged, the
command fails with exit code 7 and keeps no directory.

"stele restore" restores a backup; docs/operations.md describes both.`,
		Example: `  stele backup /backup/$(date +%F)
  stele backup --nats-url nats://n1:4222 --nats-nkey backup.nk /backup/today`,
		Args: cobra.ExactArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		nc, err := o.connect()
		if err != nil {
			return err
		}
		defer nc.Close()
		started := time.Now()
		seen, unseen := verify.AskTree(cmd.Context(), nc)
		b, err := journal.TakeBackup(cmd.Context(), nc, args[0], func(ctx context.Context, b *journal.BackupReader) error {
			return checkBackup(ctx, b, seen)
		})
		var damaged *journal.EvidenceError
		switch {
		case errors.As(err, &damaged):
			return failure.Try(failure.With(failure.Unverified, fmt.Errorf("the ledger is damaged, and no backup was kept: %w", err)), "keep the backups that you have, and follow %s", diagnosis.Damaged)
		case errors.Is(err, fs.ErrExist):
			return failure.Try(failure.With(failure.Usage, err), "the name of a new directory")
		case errors.Is(err, ledger.ErrNotFound):
			return failure.With(failure.NotFound, err)
		case err != nil:
			return err
		}
		switch {
		case unseen != nil:
			output.Warn(output.Plain(fmt.Sprintf("the backup was compared with its own checkpoints only, and not with the tree of a running process: %v", unseen)))
		case !seen.Verified:
			output.Warn(output.Plain("the backup was compared with the tree of a running process, and not with the newest checkpoint: that process has just started, or cannot read the checkpoints (its log has the reason)"))
		}
		return reportBackup(c.Printer(), b, "is in "+args[0], time.Since(started))
	}
	o.addFlags(cmd, "folder of the stele up that runs")
	return cmd
}

// connect reaches the journal of a server that runs.
func (o *journalOptions) connect() (*nats.Conn, error) {
	if o.nats.nats.URL != "" {
		o.nats.nats.Plaintext = o.plaintext
		return o.nats.nats.Connect(slog.New(slog.DiscardHandler)) // the error says all of it
	}
	if _, err := os.Stat(journalDir(o.data)); err != nil {
		return nil, failure.Try(failure.With(failure.NotFound, fmt.Errorf("%s does not contain a ledger", o.data)), "--data DIR, or --nats-url for NATS servers")
	}
	nc, err := journal.ConnectSocket(journalDir(o.data))
	if err != nil {
		return nil, failure.Try(fmt.Errorf("no stele up runs on %s: %w", o.data, err), "start it, or copy the folder of the stopped ledger, which is also a valid backup")
	}
	return nc, nil
}

// checkBackup verifies what was written, also against what a running process has seen, if that is
// known. Its error is a *journal.EvidenceError if the backup is not whole.
func checkBackup(ctx context.Context, b *journal.BackupReader, seen *verify.Seen) error {
	report, err := verify.Backup(ctx, b, seen)
	if err != nil || len(report.Findings) == 0 {
		return err
	}
	first := report.Findings[0]
	if n := len(report.Findings); n > 1 {
		first.What += fmt.Sprintf(" (and %s more)", output.Count(n-1, "finding"))
	}
	return &journal.EvidenceError{Stream: first.Where, Reason: first.What}
}

// reportBackup describes the content of a backup.
func reportBackup(p *output.Printer, b *journal.Backup, where string, took time.Duration) error {
	if p.Format != output.Text {
		return p.Object(b)
	}
	var size int64
	for _, s := range b.Streams {
		size += s.Bytes
	}
	return p.Printf("ledger %s %s: %s, %s, %d kB in %s\n", b.Ledger, where, output.Count(len(b.Streams), "stream"), output.Count(int(b.Messages()), "message"), (size+999)/1000, took.Round(time.Millisecond))
}

func RestoreCommand(c *session.Flags) *cobra.Command {
	var o journalOptions
	var replicas int
	cmd := &cobra.Command{
		Use:   "restore DIR",
		Short: "Restore a ledger from a backup",
		Long: `Restore a backup of "stele backup" to the new directory --data, for "stele up",
or to the NATS servers of --nats-url, which must not have a ledger. This is also
how to move from one to the other.

After a restore to --data, verify it (stele verify --data DIR --restored --key
checkpoint.pub), and copy the directory identity of the original ledger into it
before you start it. Processes that have seen commits that the backup does not
contain stop and report it: docs/operations.md describes what to do.`,
		Example: `  stele restore /backup/stele-2026-11-25 --data stele-data
  stele restore /backup/stele-2026-11-25 --nats-url nats://n1:4222`,
		Args: cobra.ExactArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		started := time.Now()
		b, err := o.restore(cmd.Context(), cmd.ErrOrStderr(), args[0], replicas)
		if err != nil {
			return err
		}
		where := "is in " + o.data
		if o.nats.nats.URL != "" {
			where = "is on the NATS servers"
		}
		return reportBackup(c.Printer(), b, where, time.Since(started))
	}
	o.addFlags(cmd, "new folder to restore into")
	cmd.Flags().IntVar(&replicas, "replicas", 3, "NATS servers that hold each stream")
	return cmd
}

func (o *journalOptions) restore(ctx context.Context, errOut io.Writer, dir string, replicas int) (*journal.Backup, error) {
	if _, err := journal.OpenBackup(dir); err != nil { // before anything is made
		return nil, failure.Try(failure.With(failure.Invalid, err), "a directory that stele backup has written")
	}
	if o.nats.nats.URL != "" {
		nc, err := o.connect()
		if err != nil {
			return nil, err
		}
		defer nc.Close()
		return journal.Restore(ctx, nc, dir, replicas)
	}
	for _, name := range []string{"journal", "replica.db", "tree.db"} {
		if _, err := os.Lstat(filepath.Join(o.data, name)); err == nil {
			return nil, failure.Usagef("%s exists: restore into a new directory", filepath.Join(o.data, name))
		}
	}
	log, err := (&serverOptions{logLevel: "warn"}).logger(errOut)
	if err != nil {
		return nil, err
	}
	srv, err := journal.StartServer(journal.ServerConfig{Dir: journalDir(o.data), Log: log})
	if err != nil {
		return nil, err
	}
	defer srv.Close()
	nc, err := srv.Connect()
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	return journal.Restore(ctx, nc, dir, 1)
}
