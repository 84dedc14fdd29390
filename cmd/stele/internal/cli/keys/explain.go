package keys

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/cli/session"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/cmd/stele/internal/output"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// layer is what a tenant or one of its bases has for a key, for programs.
type layer struct {
	Tenant   string          `json:"tenant"`
	Pin      uint64          `json:"at_revision"`
	InForce  bool            `json:"in_force"`
	Value    json.RawMessage `json:"value,omitempty"`
	Secret   bool            `json:"secret,omitempty"`
	Revision uint64          `json:"revision,omitempty"`
	Time     string          `json:"time,omitempty"`
	Author   string          `json:"author,omitempty"`
	Message  string          `json:"message,omitempty"`
}

// explainValue prints the layers of a value, and marks the one in force.
func explainValue(ctx context.Context, s *session.Session, key string, at *stelev1.At) error {
	resp, err := stelev1.NewBasesClient(s.Conn).ExplainValue(ctx, &stelev1.ExplainValueRequest{Key: key, At: at})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, l := range resp.Layers {
		if s.Format != output.Text {
			o := layer{Tenant: l.Tenant, Pin: l.AtRevision, InForce: l.InForce, Value: json.RawMessage(l.Value), Secret: l.Secret, Revision: l.Revision, Author: l.Author, Message: l.Message}
			if l.Time != nil {
				o.Time = render.RFC3339(l.Time)
			}
			if err := s.Object(o); err != nil {
				return err
			}
			continue
		}
		mark, set, value := "", "", output.Faint.Render("not set")
		if l.Value != "" {
			set, value = render.Revision(ledger.Revision(l.Revision).String()), l.Value
		}
		if l.InForce {
			mark = "*"
		}
		rows = append(rows, []string{mark, l.Tenant + ledger.Revision(l.AtRevision).String(), set, output.Plain(l.Author), value})
	}
	if len(rows) > 0 {
		if err := s.Table([]string{"", "TENANT", "SET BY", "AUTHOR", "VALUE"}, rows, 4); err != nil {
			return err
		}
	}
	if resp.Entry == nil {
		return failure.With(failure.NotFound, fmt.Errorf("%s is not set, and no base has it", key))
	}
	return nil
}
