package openapi_test

import (
	"encoding/json"
	"fmt"

	"github.com/stelehq/stele/schemas/openapi"
)

func ExampleDocument() {
	var document struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]json.RawMessage
	}
	if err := json.Unmarshal(openapi.Document, &document); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(document.OpenAPI, len(document.Paths["/v1/head"]) > 0)
	// Output: 3.1.0 true
}
