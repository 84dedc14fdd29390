package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/proof"
)

// One address has a part of the connections to a witness, and leaves the others to others.
func TestWitness_OneAddressLeavesConnections(t *testing.T) {
	_, key, err := proof.GenerateKey(ledger.Epoch{1})
	if err != nil {
		t.Fatal(err)
	}
	options := witnessServerOptions{data: t.TempDir(), name: "witness.example/w1", listen: "127.0.0.1:0", logs: []string{key}}
	ctx, cancel := context.WithCancel(t.Context())
	out, written := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := runWitness(ctx, written, io.Discard, options)
		written.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	line := make([]byte, 1000)
	size, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out)
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(string(line[:size]))
	const all, most, made = 256, 192, 300
	refused := make(chan struct{}, made)
	deadline := time.After(9 * time.Second) // before the server gives up those that send nothing, after 10 s
	for range made {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			c.Read(make([]byte, 1))
			refused <- struct{}{}
		}()
	}
	for i := range made - most {
		select {
		case <-refused:
		case <-deadline:
			t.Fatalf("%d connections of %d were refused", i, made)
		}
	}
	other := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: other.DialContext, DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address)
	if err != nil {
		t.Fatalf("another address, with %d connections of %d in use: %v", most, all, err)
	}
	resp.Body.Close()
}
