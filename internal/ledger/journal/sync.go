package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// proveSync makes sure that the servers fsync a write before they acknowledge it: by
// default they do so every two minutes, and a power failure loses everything that was
// acknowledged since. NATS's own protocol does not report this, so it is queried from
// the servers' HTTP monitoring.
func proveSync(ctx context.Context, cfg Config) error {
	if cfg.Embedded != nil || cfg.UnsafeSync {
		return nil
	}
	if len(cfg.MonitorURLs) == 0 {
		return errors.New("it is not known whether the nats-server syncs every write to disk: " + syncAdvice)
	}
	proven := map[string]bool{}
	var silent []error
	for _, url := range cfg.MonitorURLs {
		id, always, err := askSync(ctx, url)
		switch {
		case err != nil:
			silent = append(silent, fmt.Errorf("ask %s whether it syncs every write to disk: %w", url, err))
		case !always:
			return fmt.Errorf("the nats-server at %s does not sync every write to disk: %s", url, syncAdvice)
		default:
			proven[id] = true
		}
	}
	// A write is acknowledged by a quorum, so a quorum must sync, and one server that
	// is down does not prevent a ledger from starting.
	if quorum := max(cfg.Replicas, 1)/2 + 1; len(proven) < quorum {
		if len(silent) > 0 {
			return errors.Join(silent...)
		}
		return fmt.Errorf("a stream has %d replicas, but only %d servers are known to sync every write to disk: %s", cfg.Replicas, len(proven), syncAdvice)
	}
	return nil
}

const syncAdvice = "set `jetstream { sync_interval: always }` in the configuration of every server and give each one's " +
	"monitoring endpoint with `--nats-monitor URL`, or accept that a power cut loses acknowledged commits with `--unsafe-sync`"

// askSync asks one server's monitoring who it is and whether it always syncs.
func askSync(ctx context.Context, url string) (id string, always bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/jsz?config=true", nil)
	if err != nil {
		return "", false, err
	}
	req.Close = true // it is asked once
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", false, errors.New(resp.Status)
	}
	var info struct {
		ID     string `json:"server_id"`
		Config struct {
			SyncAlways bool `json:"sync_always"`
		} `json:"config"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&info); err != nil {
		return "", false, err
	}
	return info.ID, info.Config.SyncAlways, nil
}
