// Stele is a configuration ledger: the server and its command line.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
)

func main() { os.Exit(run()) }

// run is main, for tests that need a program.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)

	c := new(cli)
	cmd, err := rootCommand(c).ExecuteContextC(ctx)
	if err != nil && !c.started {
		err = failure.Try(failure.With(failure.Usage, err), "%s --help", cmd.CommandPath())
	}
	for _, line := range failure.Lines(err) {
		fmt.Fprintln(os.Stderr, line)
	}
	return failure.Code(err)
}
