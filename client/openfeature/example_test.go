package stele_test

import (
	"context"
	"fmt"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/stelehq/stele/client"
	stele "github.com/stelehq/stele/client/openfeature"
)

// A program opens one client for its settings and its flags.
func ExampleNewProvider() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Config{
		Addresses: []string{"gateway-1:7070", "gateway-2:7070"},
		Prefixes:  []string{"flags/", "tenantconfig/checkout/"},
		Token:     client.TokenFile("/run/secrets/stele-token"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	if err := openfeature.SetProviderAndWait(stele.NewProvider(c, stele.Config{})); err != nil {
		fmt.Println(err)
		return
	}
	flags := openfeature.NewClient("checkout")
	user := openfeature.NewEvaluationContext("user-17", map[string]any{"email": "ada@example.com"})
	if flags.Boolean(ctx, "checkout/new-flow", false, user) {
		fmt.Println("the new checkout")
	}
}
