package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/cmd/stele/internal/routefile"
	"github.com/stelehq/stele/internal/ledger/routes"
)

// defaultConfig is read if it exists and --config names no other.
const defaultConfig = "stele.yaml"

// configuredRoutes are those of the configuration file; usual without one.
func (o *serverOptions) configuredRoutes(usual *routes.Table) (*routes.Table, error) {
	file := o.config
	if file == "" {
		file = defaultConfig
	}
	data, err := os.ReadFile(file)
	if o.config == "" && errors.Is(err, fs.ErrNotExist) {
		return usual, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	t, err := routefile.Parse(file, data)
	if err != nil {
		return nil, err
	}
	if err := node.CheckRoutes(t); err != nil {
		return nil, failure.With(failure.Invalid, fmt.Errorf("%s: %w", file, err))
	}
	return t, nil
}
