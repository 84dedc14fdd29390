package session

import (
	"context"
	"slices"

	"github.com/stelehq/stele/cmd/stele/internal/cli/render"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/wire"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

// SettingsBelow reads the settings of a state, nil for head, and what they are the state
// of.
func (s *Session) SettingsBelow(ctx context.Context, below string, at *stelev1.At) (map[ledger.Key]ledger.Value, *stelev1.Snapshot, error) {
	settings := make(map[ledger.Key]ledger.Value)
	var secrets []string
	req := &stelev1.ListRequest{Prefix: below, At: at, PageSize: 10_000}
	for {
		resp, err := s.Config.List(ctx, req)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range resp.Entries {
			settings[ledger.Key(e.Key)] = ledger.Value(e.Value)
			if e.Secret {
				secrets = append(secrets, e.Key)
			}
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			return settings, resp.Snapshot, s.Reveal(ctx, settings, secrets, ledger.Revision(resp.Snapshot.GetRevision()))
		}
	}
}

// Reveal puts the values of secrets into settings, as they are at a revision. A
// program gets them, or it is not run: "***" would be taken for one.
func (s *Session) Reveal(ctx context.Context, settings map[ledger.Key]ledger.Value, secrets []string, rev ledger.Revision) error {
	for some := range slices.Chunk(secrets, manyKeys) {
		resp, err := s.Config.BatchGet(ctx, &stelev1.BatchGetRequest{Keys: some, At: wire.AtRevision(rev), Reveal: true})
		if err != nil {
			return failure.Try(err, "a token that may reveal %s, a secret that the command needs (stele can reveal %[1]s), or a prefix without secrets", some[0])
		}
		for _, e := range resp.Entries {
			settings[ledger.Key(e.Key)] = ledger.Value(e.Value)
		}
	}
	return nil
}

// manyKeys is how many of the largest values fit an answer.
const manyKeys = 15

// EntriesOf reads keys, each of which may have the largest value, at a revision; those
// that are not set are left out.
func (s *Session) EntriesOf(ctx context.Context, keys []string, at ledger.Revision) (map[string]*stelev1.Entry, error) {
	entries := make(map[string]*stelev1.Entry, len(keys))
	for some := range slices.Chunk(keys, manyKeys) {
		resp, err := s.Config.BatchGet(ctx, &stelev1.BatchGetRequest{Keys: some, At: wire.AtRevision(at)})
		if err != nil {
			return nil, err
		}
		for _, e := range resp.Entries {
			entries[e.Key] = e
		}
	}
	return entries, nil
}

// PrintChanges shows changes that may be made to the state at head.
func (s *Session) PrintChanges(ctx context.Context, head uint64, changes []*stelev1.Change) error {
	keys := make([]string, len(changes))
	for i, ch := range changes {
		keys[i] = ch.Key
	}
	now, err := s.EntriesOf(ctx, keys, ledger.Revision(head))
	if err != nil {
		return err
	}
	for _, ch := range changes {
		is := now[ch.Key]
		d := &stelev1.KeyDiff{Key: ch.Key, FromValue: is.GetValue(), FromRevision: is.GetRevision(), ToValue: ch.Value}
		if err := render.WriteDiff(s.Printer, d); err != nil {
			return err
		}
	}
	return nil
}

// Entries calls f for every page of the keys under the prefix.
func (s *Session) Entries(ctx context.Context, req *stelev1.ListRequest, f func([]*stelev1.Entry) error) error {
	for {
		resp, err := s.Config.List(ctx, req)
		if err != nil {
			return err
		}
		if err := f(resp.Entries); err != nil {
			return err
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			return nil
		}
		req.PageSize = laterPages
	}
}

// The first page of a listing is short, so that its first line is printed at once.
const (
	FirstPage  = 500
	laterPages = 10_000
)
