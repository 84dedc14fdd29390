// Package cli is the command line: the root command, its global flags, and how errors
// become messages and exit codes. The commands are in the folders below it, grouped by
// noun; session connects them to a gateway.
package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
)

// Run runs the command line of this process and returns its exit code.
func Run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)

	c := new(session.Flags)
	cmd, err := RootCommand(c).ExecuteContextC(ctx)
	if err != nil && !c.Started {
		err = failure.Try(failure.With(failure.Usage, err), "%s --help", cmd.CommandPath())
	}
	for _, line := range failure.Lines(err) {
		fmt.Fprintln(output.Stderr, line)
	}
	if hint := c.ContextHint(err); hint != "" {
		fmt.Fprintln(output.Stderr, hint)
	}
	return failure.Code(err)
}
