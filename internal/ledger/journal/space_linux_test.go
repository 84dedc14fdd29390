package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/journal/internal/host"
)

// smallDisk is a file system of that many bytes, until the test ends.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill leaves at most that much of the disk free, in bytes. It returns what frees the rest again.
func fill(t *testing.T, dir string, leave uint64) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for page := make([]byte, 4096); ; {
		if left, err := host.FreeSpace(dir); err != nil || left <= leave {
			break
		}
		if _, err := f.Write(page); err != nil {
			break
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServer_LowSpaceRefusesWrites(t *testing.T) {
	dir := smallDisk(t, 2*lowSpace)
	j := openTest(t, startTest(t, filepath.Join(dir, "journal")), Config{})
	last := mustAppend(t, j, 0, "before")
	free := fill(t, dir, lowSpace-1)
	if _, err := j.Append(t.Context(), last, []byte("full")); !errors.Is(err, ledger.ErrNoSpace) {
		t.Fatalf("append to a full disk: %v", err)
	}
	if err := j.Guard(); !errors.Is(err, ledger.ErrNoSpace) {
		t.Errorf("the guard reports %v", err)
	}
	if m, err := j.Read(t.Context(), last); err != nil || string(m.Record) != "before" {
		t.Errorf("read %q: %v", m.Record, err)
	}
	free()
	mustAppend(t, j, last, "after")
}

// A server that was started with little free space takes writes once there is more.
func TestServer_StartedWithLittleSpace(t *testing.T) {
	dir := smallDisk(t, 32<<20)
	config := ServerConfig{Dir: filepath.Join(dir, "journal"), lowSpace: 1 << 20}
	s, err := StartServer(config)
	if err != nil {
		t.Fatal(err)
	}
	last := mustAppend(t, openTest(t, s, Config{}), 0, "before")
	s.Close()
	free := fill(t, dir, 1<<20)
	if s, err = StartServer(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	free()
	j := openTest(t, s, Config{})
	record := strings.Repeat("x", 1<<20)
	for range 8 {
		last = mustAppend(t, j, last, record)
	}
}

// A write that failed leaves JetStream unable to write, until the server is replaced.
func TestServer_WritesResumeAfterAFailedWrite(t *testing.T) {
	dir := smallDisk(t, 16<<20)
	s, err := StartServer(ServerConfig{Dir: filepath.Join(dir, "journal"), lowSpace: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	j := openTest(t, s, Config{})
	last := mustAppend(t, j, 0, "before")
	free := fill(t, dir, 2<<20)
	record := make([]byte, 4<<20) // longer than the space that is left
	if _, err := j.Append(t.Context(), last, record); !errors.Is(err, ledger.ErrUnknownOutcome) {
		t.Fatalf("append of a record that does not fit: %v", err)
	}
	free()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if end, err := j.Last(ctx); err == nil {
			if last, err = j.Append(ctx, end, []byte("after")); err == nil {
				break
			}
		}
		if ctx.Err() != nil {
			t.Fatal("no write succeeds although there is space")
		}
	}
	messages := follow(t, j, 0, int(last))
	if string(messages[0].Record) != "before" || string(messages[last-1].Record) != "after" {
		t.Errorf("the journal has %d messages, the first %q", len(messages), messages[0].Record)
	}
}
