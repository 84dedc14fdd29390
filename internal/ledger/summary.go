package ledger

import (
	"fmt"
	"time"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Summary is a commit without its changes.
type Summary struct {
	Revision Revision
	Time     time.Time
	Author   string
	Message  string
	Origin   Origin
}

// Summary is the commit without its changes.
func (c *Commit) Summary() Summary {
	return Summary{c.Revision, c.Time, c.Author, c.Message, c.Origin}
}

// SummarySize is how many of a commit's stored bytes come before its changes, which come
// last and may be megabytes.
func SummarySize(encoded []byte) (int, error) {
	const changes = 10 // field number of Commit.changes
	end := 0
	for end < len(encoded) {
		num, typ, n := protowire.ConsumeTag(encoded[end:])
		if n < 0 {
			return 0, fmt.Errorf("summarize commit: %w", protowire.ParseError(n))
		}
		if num == changes {
			break
		}
		size := protowire.ConsumeFieldValue(num, typ, encoded[end+n:])
		if size < 0 {
			return 0, fmt.Errorf("summarize commit: %w", protowire.ParseError(size))
		}
		end += n + size
	}
	return end, nil
}

// Summarize decodes the first SummarySize of a commit's stored bytes.
func Summarize(summary []byte) (Summary, error) {
	var p stelev1.Commit
	if err := proto.Unmarshal(summary, &p); err != nil {
		return Summary{}, fmt.Errorf("summarize commit: %w", err)
	}
	return Summary{Revision(p.Revision), p.Time.AsTime(), p.Author, p.Message, originOf(p.Origin)}, nil
}
