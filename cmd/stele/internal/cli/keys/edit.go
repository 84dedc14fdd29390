package keys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/environ"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"golang.org/x/term"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func EditCommand(c *session.Flags) *cobra.Command {
	var w session.WriteFlags
	cmd := &cobra.Command{
		Use:   "edit KEY",
		Short: "Edit a value in an editor",
		Long: `Open the value in $VISUAL or $EDITOR (default vi) and commit it when the editor
ends. A string is edited as plain text, and any other value as JSON. Nothing is
written if the value is unchanged. If another commit changes the key meanwhile,
the edit is refused, and the error names a file that has your text.`,
		Example:           `  stele edit tenantconfig/checkout/hosts -m "add a host"`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.CompleteKey,
	}
	cmd.RunE = c.Connected(func(ctx context.Context, s *session.Session, args []string) error {
		key, err := ledger.ParseKey(args[0])
		if err != nil {
			return failure.With(failure.Invalid, err)
		}
		got, err := s.Config.Get(ctx, &stelev1.GetRequest{Key: string(key)})
		if err != nil && status.Code(err) != codes.NotFound {
			return err
		}
		if got.GetEntry().GetSecret() {
			return failure.Try(failure.With(failure.Invalid, fmt.Errorf("%s is a secret, and edit does not read secrets", key)), "stele set %s -", key)
		}
		before := ledger.Value(got.GetEntry().GetValue())
		text := strings.HasPrefix(string(before), `"`)
		file, err := editFile(before, text)
		if err != nil {
			return err
		}
		value, err := edited(ctx, file, before, text)
		if err == nil && value == "" {
			os.Remove(file)
			return s.Printf("no change: %s is as before\n", key)
		}
		if err != nil {
			return failure.Try(err, "edit %s, then stele set %s @%s", file, key, file)
		}
		cs := ledger.ChangeSet{
			Changes:       []ledger.Change{{Key: key, Value: value}},
			Preconditions: []ledger.Precondition{{Key: key, Revision: ledger.Revision(got.GetEntry().GetRevision()), ID: got.GetCommitId()}},
		}
		if err := w.Into(&cs); err != nil {
			return err
		}
		if err := s.Commit(ctx, cmd, &cs); err != nil {
			return failure.Try(err, "the text is in %s: stele get %s, then stele set %s @%s", file, key, key, file)
		}
		return os.Remove(file)
	})
	w.Add(cmd)
	return cmd
}

// editFile writes a value to a file that only its owner can read: the text of a string, or
// JSON with indentation.
func editFile(v ledger.Value, text bool) (string, error) {
	dir, err := os.MkdirTemp("", "stele-edit-")
	if err != nil {
		return "", fmt.Errorf("make a file to edit: %w", err)
	}
	file, content := filepath.Join(dir, "value.json"), []byte(v)
	if text {
		file, content = filepath.Join(dir, "value.txt"), []byte(environ.Bare(v))
	} else if v != "" {
		pretty := jsontext.Value(v)
		if err := pretty.Indent(jsontext.WithIndent("  ")); err != nil {
			return "", fmt.Errorf("format the value: %w", err)
		}
		content = append(pretty, '\n')
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return "", fmt.Errorf("make a file to edit: %w", err)
	}
	return file, nil
}

// edited opens the editor and returns the new value; empty if it is as before.
func edited(ctx context.Context, file string, before ledger.Value, text bool) (ledger.Value, error) {
	chosen := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"))
	if chosen == "" && !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", failure.Usagef("cannot open an editor: standard input is not a terminal, and $EDITOR is not set")
	}
	editor := strings.Fields(cmp.Or(chosen, "vi"))
	run := osexec.CommandContext(ctx, editor[0], append(editor[1:], file)...)
	run.Stdin, run.Stdout, run.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := run.Run(); err != nil {
		return "", fmt.Errorf("run the editor %s: %w", editor[0], err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the edited text: %w", err)
	}
	if text {
		value, err := ledger.StringValue(string(content))
		if err != nil || value.Equal(before) {
			return "", err
		}
		return value, nil
	}
	if len(strings.TrimSpace(string(content))) == 0 {
		return "", failure.With(failure.Invalid, errors.New("the edited text is empty"))
	}
	value, err := ledger.ParseValue(strings.TrimSpace(string(content)))
	switch {
	case err != nil:
		return "", failure.With(failure.Invalid, err)
	case before != "" && value.Equal(before):
		return "", nil
	}
	return value, nil
}
