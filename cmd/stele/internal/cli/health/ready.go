package health

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/stelehq/stele/cmd/stele/internal/failure"
)

// readyTimeout bounds the answer that "stele ready" waits for.
const readyTimeout = 3 * time.Second

func ReadyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ready [URL]",
		Short: "Check whether a server on this machine is ready",
		Long: `Query /readyz of a server, by default at http://127.0.0.1:7071. The exit code is
0 if it serves and its replica has caught up, otherwise 1. Use it for health
checks of containers that contain no other program.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			url := "http://127.0.0.1:7071"
			if len(args) > 0 {
				url = strings.TrimSuffix(strings.TrimSuffix(args[0], "/"), "/readyz")
			}
			return askReady(cmd.Context(), cmd.OutOrStdout(), url+"/readyz")
		},
	}
}

func askReady(ctx context.Context, out io.Writer, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return failure.Usagef("%w: write http://HOST:PORT, the address of --http", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	switch {
	case err != nil:
		return fmt.Errorf("not ready: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("not ready: %s", strings.TrimSpace(string(text)))
	}
	_, err = out.Write(text)
	return err
}
