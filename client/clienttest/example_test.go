package clienttest_test

import (
	"context"
	"fmt"
	"os"

	"github.com/stelehq/stele/client"
	"github.com/stelehq/stele/client/clienttest"
)

// A program without a test: in a test, Start closes the server and removes its folder.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "stele")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := clienttest.Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	ctx := context.Background()
	c, err := client.Open(ctx, s.Config("acme"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	if _, err := c.Ledger().Set(ctx, "tenantconfig/checkout/timeout_ms", 500, "slow bank"); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(client.Bind(c, "tenantconfig/checkout/timeout_ms", 250).Get())
	// Output: 500
}
