//go:build faults

package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stelehq/stele/cmd/stele/internal/changelog"
	"github.com/stelehq/stele/cmd/stele/internal/conn"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// history is a change log: a tenant's lines become its commits @1, @2, ...
type history map[ledger.Tenant][]*changelog.Line

func readHistory(t *testing.T, path string) history {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	log, err := changelog.NewReader(f, "")
	if err != nil {
		t.Fatal(err)
	}
	h := make(history)
	for {
		line, err := log.Next()
		if err == io.EOF {
			return h
		}
		if err != nil {
			t.Fatal(err)
		}
		h[line.Tenant] = append(h[line.Tenant], line)
	}
}

func (h history) lines() (n int) {
	for _, of := range h {
		n += len(of)
	}
	return n
}

// generate writes a change log of that many lines, in which a few hundred keys
// are set and deleted again and again.
func generate(t *testing.T, random *rand.Rand, lines int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "generated.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tenants := []string{"acme", "globex", "initech", "initrode"}
	begun := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	encode := json.NewEncoder(f)
	for i := range lines {
		changes := make([]map[string]any, 0, 4)
		for _, key := range random.Perm(300)[:1+random.IntN(4)] {
			ch := map[string]any{"key": fmt.Sprintf("tenantconfig/service-%d/setting-%d", key%20, key)}
			switch random.IntN(5) {
			case 0:
				ch["delete"] = true
			case 1:
				ch["value"] = json.Number(fmt.Sprintf("9007199254740993.%d", i))
			case 2:
				ch["value"] = map[string]any{"limits": []int{i, i + 1}, "on": i%2 == 0}
			default:
				ch["value"] = fmt.Sprintf("release-%d %x", i, random.Uint64())
			}
			changes = append(changes, ch)
		}
		if err := encode.Encode(map[string]any{
			"time": begun.Add(time.Duration(i) * time.Second), "author": fmt.Sprintf("author-%d", i%7), "message": fmt.Sprint("change ", i),
			"source": fmt.Sprint(i), "tenant": tenants[random.IntN(len(tenants))], "changes": changes,
		}); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// importer sends a history and remembers acknowledged lines. Other lines are sent again
// to the next process, under the same request id.
type importer struct {
	history history
	// pace is what it waits before each line.
	pace atomic.Int64

	mu    sync.Mutex // guards what follows
	acks  map[ledger.Tenant][]ledger.CommitID
	total int
	again int // acknowledged as a repeated request
	wrong error
}

// run imports until all is acknowledged or the process is gone.
func (im *importer) run(ctx context.Context, g *gateway) {
	var lanes sync.WaitGroup
	for tenant := range im.history {
		lanes.Go(func() {
			err := im.lane(conn.AsTenant(ctx, tenant), g, tenant)
			if code := status.Code(err); err != nil && code != codes.Unavailable && code != codes.Canceled {
				im.mu.Lock()
				defer im.mu.Unlock()
				im.wrong = errors.Join(im.wrong, fmt.Errorf("import into %s: %w", tenant, err))
			}
		})
	}
	lanes.Wait()
}

func (im *importer) lane(ctx context.Context, g *gateway, tenant ledger.Tenant) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := g.ledger.CommitStream(ctx)
	if err != nil {
		return err
	}
	var sender sync.WaitGroup
	defer sender.Wait()
	defer cancel()
	rest := im.history[tenant][im.acknowledged(tenant):]
	sender.Go(func() {
		for _, line := range rest {
			if pace := im.pace.Load(); pace > 0 {
				select {
				case <-time.After(time.Duration(pace)):
				case <-ctx.Done():
				}
			}
			if stream.Send(&stelev1.CommitStreamRequest{Commit: wire.CommitRequest(&line.ChangeSet)}) != nil {
				return // the receiver learns why
			}
		}
		stream.CloseSend()
	})
	for range rest {
		resp, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := im.acknowledge(tenant, resp.Commit); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) acknowledge(tenant ledger.Tenant, r *stelev1.CommitResponse) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	if want := uint64(len(im.acks[tenant]) + 1); r.Revision != want {
		return fmt.Errorf("line %d became %s@%d", want, tenant, r.Revision)
	}
	im.acks[tenant] = append(im.acks[tenant], ledger.CommitID(r.Id))
	im.total++
	if r.RepeatedRequest {
		im.again++
	}
	return nil
}

func (im *importer) acknowledged(tenant ledger.Tenant) int {
	im.mu.Lock()
	defer im.mu.Unlock()
	return len(im.acks[tenant])
}

func (im *importer) done() int {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.total
}
