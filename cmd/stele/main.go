// Stele is a configuration ledger: the server and its command line.
package main

import (
	"os"

	"github.com/stelehq/stele/cmd/stele/internal/cli"
)

func main() { os.Exit(cli.Run()) }
