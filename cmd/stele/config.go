package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/node"
	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
	"github.com/stelehq/stele/ledger/routes"
)

// defaultConfig is read where it is there and --config names no other.
const defaultConfig = "stele.yaml"

// configuredRoutes are those of the configuration file; usual where there is none.
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
	t, err := parseRoutes(file, data)
	if err != nil {
		return nil, err
	}
	if err := t.CheckKinds(node.Kinds); err != nil {
		return nil, failure.With(failure.Invalid, fmt.Errorf("%s: %w", file, err))
	}
	return t, nil
}

// parseRoutes reads routes from a file, YAML or JSON.
func parseRoutes(file string, data []byte) (*routes.Table, error) {
	root, err := yamljson.Parse(data)
	if err == nil {
		data, err = yamljson.ToJSON(root)
	}
	var t *routes.Table
	if err == nil {
		t, err = routes.Parse(data)
	}
	if err != nil {
		return nil, failure.With(failure.Invalid, fmt.Errorf("%s: %w", file, err))
	}
	return t, nil
}
