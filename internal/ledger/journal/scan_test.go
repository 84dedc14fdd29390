package journal

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

func TestScan(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	side, err := j.OpenAuxStream(t.Context(), Reads)
	if err != nil {
		t.Fatal(err)
	}
	var stored []time.Time
	scan := func(name string, from ledger.Sequence, since time.Time, most int) (bodies []string) {
		t.Helper()
		stored = nil
		for m, err := range side.Scan(t.Context(), name, from, since) {
			if err != nil {
				t.Fatal(err)
			}
			stored, bodies = append(stored, m.Time), append(bodies, string(m.Record))
			if len(bodies) == most {
				break
			}
		}
		return bodies
	}
	const many = 1 << 20
	if got := scan("acme", 0, time.Time{}, many); got != nil {
		t.Errorf("an empty stream has %q", got)
	}
	var third ledger.Sequence
	for i, body := range []string{"1", "2", "3", "4"} {
		seq, err := side.Append(t.Context(), "acme", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			third = seq
		}
		if _, err := side.Append(t.Context(), "other", []byte("of another")); err != nil {
			t.Fatal(err)
		}
	}
	scan("acme", 0, time.Time{}, many)
	times := stored
	for _, tc := range []struct {
		what  string
		from  ledger.Sequence
		since time.Time
		most  int
		want  []string
	}{
		{"all", 0, time.Time{}, many, []string{"1", "2", "3", "4"}},
		{"the first two", 0, time.Time{}, 2, []string{"1", "2"}},
		{"from a sequence", third, time.Time{}, many, []string{"3", "4"}},
		{"from a sequence of another name", third - 1, time.Time{}, many, []string{"3", "4"}},
		{"from beyond the end", third + 100, time.Time{}, many, nil},
		{"since a message", 0, times[1], many, []string{"2", "3", "4"}},
		{"since just after it", 0, times[1].Add(1), many, []string{"3", "4"}},
		{"since long ago", 0, time.Unix(0, 0), many, []string{"1", "2", "3", "4"}},
		{"since the future", 0, time.Now().Add(time.Hour), many, nil},
	} {
		if got := scan("acme", tc.from, tc.since, tc.most); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.what, got, tc.want)
		}
	}
	j.nc.Close()
	for _, err := range side.Scan(t.Context(), "acme", 0, time.Time{}) {
		if !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("without a connection: %v", err)
		}
	}
}

func TestNobodyDeletesRecordedReads(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	side, err := j.OpenAuxStream(t.Context(), Reads)
	if err != nil {
		t.Fatal(err)
	}
	seq, err := side.Append(t.Context(), "acme", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := side.stream.DeleteMsg(t.Context(), uint64(seq)); err == nil {
		t.Error("a message was deleted")
	}
	if err := side.stream.Purge(t.Context(), jetstream.WithPurgeSubject("stele.reads.v1.acme")); err == nil {
		t.Error("the stream was purged")
	}
}
