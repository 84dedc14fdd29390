package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/stelehq/stele/client"
)

func Example() {
	dir, err := os.MkdirTemp("", "settings")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := client.Open(ctx, client.Config{
		Addresses: server().Config("shop").Addresses,
		Tenant:    "shop",
		Prefixes:  []string{"tenantconfig/checkout/"},
		Token:     server().Config("shop").Token, // client.TokenFile("/run/secrets/stele-token")
		File:      filepath.Join(dir, "settings"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	timeout := client.Bind(c, "tenantconfig/checkout/timeout_ms", 250)
	fmt.Println(timeout.Get())

	// Another program or this one changes it.
	if _, err := c.Ledger().Set(ctx, "tenantconfig/checkout/timeout_ms", 500, "slow bank"); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(timeout.Get())
	fmt.Println(c.Status().Source, c.Age() < time.Minute)
	// Output:
	// 250
	// 500
	// live true
}

// Several keys of one revision.
func ExampleClient_Snapshot() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := client.Open(ctx, server().Config("bank"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	low, high := client.Bind(c, "limits/low", 0), client.Bind(c, "limits/high", 0)
	_, err = c.Ledger().Commit(ctx, client.ChangeSet{
		Set:     map[string]any{"limits/low": 10, "limits/high": 20},
		Message: "limits",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	s := c.Snapshot()
	fmt.Println(low.In(s), high.In(s))
	for _, e := range s.List("limits/") {
		fmt.Println(e.Key, e.Value)
	}
	// Output:
	// 10 20
	// limits/high 20
	// limits/low 10
}

func ExampleClient_OnChange() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := client.Open(ctx, server().Config("news"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	done := make(chan struct{})
	stop := c.OnChange("limits/", func(u client.Update) {
		for _, key := range u.Keys {
			before, _ := u.Before.Get(key)
			after, _ := u.After.Get(key)
			fmt.Printf("%s: %q is %q now\n", key, before.Value, after.Value)
		}
		close(done)
	})
	defer stop()
	if _, err := c.Ledger().Set(ctx, "limits/low", 10, "a beginning"); err != nil {
		fmt.Println(err)
		return
	}
	<-done
	// Output:
	// limits/low: "" is "10" now
}

// A change is made on what was read, or not at all.
func ExampleLedger_Commit() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := client.Open(ctx, server().Config("school"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	if _, err := c.Ledger().Set(ctx, "limits/low", 10, ""); err != nil {
		fmt.Println(err)
		return
	}
	read, _ := c.Get("limits/low")
	for range 2 {
		done, err := c.Ledger().Commit(ctx, client.ChangeSet{
			Set:     map[string]any{"limits/low": 11},
			Expect:  map[string]uint64{"limits/low": read.Revision},
			Message: "one more",
		})
		if conflict, ok := errors.AsType[*client.ConflictError](err); ok {
			fmt.Println(conflict.Conflicts[0].Description)
			continue
		}
		fmt.Println(done.Revision, err)
	}
	// Output:
	// 2 <nil>
	// limits/low: expected @1, found @2
}
