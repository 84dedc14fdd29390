package journal

import (
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stelehq/stele/internal/ledger"
)

func TestScan(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	aux, err := j.OpenAuxStream(t.Context(), Reads)
	if err != nil {
		t.Fatal(err)
	}
	var stored []time.Time
	read := func(messages iter.Seq2[Message, error], most int) (bodies []string) {
		t.Helper()
		stored = nil
		for m, err := range messages {
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
	if got := read(aux.Scan(t.Context(), "acme", 0), many); got != nil {
		t.Errorf("an empty stream has %q", got)
	}
	if got := read(aux.ScanBack(t.Context(), "acme", 0, time.Time{}), many); got != nil {
		t.Errorf("an empty stream, backward, has %q", got)
	}
	var third ledger.Sequence
	for i, body := range []string{"1", "2", "3", "4"} {
		seq, err := aux.Append(t.Context(), "acme", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			third = seq
		}
		if _, err := aux.Append(t.Context(), "other", []byte("of another")); err != nil {
			t.Fatal(err)
		}
	}
	read(aux.Scan(t.Context(), "acme", 0), many)
	times := stored
	for _, tc := range []struct {
		what string
		from ledger.Sequence
		most int
		want []string
	}{
		{"all", 0, many, []string{"1", "2", "3", "4"}},
		{"the first two", 0, 2, []string{"1", "2"}},
		{"from a sequence", third, many, []string{"3", "4"}},
		{"from a sequence of another name", third - 1, many, []string{"3", "4"}},
		{"from beyond the end", third + 100, many, nil},
	} {
		if got := read(aux.Scan(t.Context(), "acme", tc.from), tc.most); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.what, got, tc.want)
		}
	}
	for _, tc := range []struct {
		what   string
		before ledger.Sequence
		until  time.Time
		most   int
		want   []string
	}{
		{"all", 0, time.Time{}, many, []string{"4", "3", "2", "1"}},
		{"the last two", 0, time.Time{}, 2, []string{"4", "3"}},
		{"before a sequence", third, time.Time{}, many, []string{"2", "1"}},
		{"before a sequence of another name", third + 1, time.Time{}, many, []string{"3", "2", "1"}},
		{"before the first", 1, time.Time{}, many, nil},
		{"until a message", 0, times[1], many, []string{"1"}},
		{"until just after it", 0, times[1].Add(1), many, []string{"2", "1"}},
		{"until long ago", 0, time.Unix(0, 0), many, nil},
		{"until the future", 0, time.Now().Add(time.Hour), many, []string{"4", "3", "2", "1"}},
		{"until a distant future", 0, time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC), many, []string{"4", "3", "2", "1"}},
	} {
		if got := read(aux.ScanBack(t.Context(), "acme", tc.before, tc.until), tc.most); !slices.Equal(got, tc.want) {
			t.Errorf("backward, %s: %q, want %q", tc.what, got, tc.want)
		}
	}
	j.nc.Close()
	for _, messages := range []iter.Seq2[Message, error]{aux.Scan(t.Context(), "acme", 0), aux.ScanBack(t.Context(), "acme", 0, time.Time{}), aux.ScanBack(t.Context(), "acme", third, time.Time{})} {
		for _, err := range messages {
			if !errors.Is(err, ledger.ErrUnavailable) {
				t.Errorf("without a connection: %v", err)
			}
		}
	}
}

// Names with few messages among many, and with messages that are too long to be held together,
// are read completely and in order.
func TestScanBack_Spans(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	aux, err := j.OpenAuxStream(t.Context(), Reads)
	if err != nil {
		t.Fatal(err)
	}
	var want []ledger.Sequence
	write := func(name string, size int) {
		t.Helper()
		seq, err := aux.Append(t.Context(), name, make([]byte, size))
		if err != nil {
			t.Fatal(err)
		}
		if name == "acme" {
			want = append(want, seq)
		}
	}
	write("acme", 1)
	for range backSpan + 10 {
		write("acme", 1)
	}
	for range 12 {
		write("acme", backBytes/8)
	}
	for range 3 * backSpan {
		write("other", 1)
	}
	write("acme", 1)
	write("other", 1)
	var got []ledger.Sequence
	for m, err := range aux.ScanBack(t.Context(), "acme", 0, time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m.Sequence)
	}
	slices.Reverse(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d messages, want %d, or in another order", len(got), len(want))
	}
}

func TestRecordedReads_DenyDeletion(t *testing.T) {
	j := openTest(t, startTest(t, t.TempDir()), Config{})
	aux, err := j.OpenAuxStream(t.Context(), Reads)
	if err != nil {
		t.Fatal(err)
	}
	seq, err := aux.Append(t.Context(), "acme", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := aux.stream.DeleteMsg(t.Context(), uint64(seq)); err == nil {
		t.Error("a message was deleted")
	}
	if err := aux.stream.Purge(t.Context(), jetstream.WithPurgeSubject("stele.reads.v1.acme")); err == nil {
		t.Error("the stream was purged")
	}
}
