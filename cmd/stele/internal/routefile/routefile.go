// Package routefile reads routes from files and from a gateway's response.
package routefile

import (
	"fmt"

	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/yamljson"
	"github.com/stelehq/stele/internal/ledger/routes"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// Parse reads routes from a file, YAML or JSON.
func Parse(file string, data []byte) (*routes.Table, error) {
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

// FromGateway reads the routes in a gateway's response.
func FromGateway(resp *stelev1.GetRoutesResponse) (*routes.Table, error) {
	t, err := routes.Parse([]byte(resp.Routes))
	if err != nil {
		return nil, failure.Try(err, "a newer stele, or -o json for the document as it is")
	}
	return t, nil
}
