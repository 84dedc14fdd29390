// Stele-lambda runs as a Lambda function on the events of event buses: it notifies
// services of changed configuration, and the ledger of parameters that were changed by
// hand. docs/eventbridge.md describes its set-up.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/stelehq/stele/cmd/stele-lambda/internal/bridge"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	// At a cold start: a secret that was rotated is read by the next instance.
	cfg, err := bridge.FromEnvironment(context.Background(), os.Getenv, bridge.ReadSecret)
	if err != nil {
		log.Error("stele-lambda cannot start", "reason", err)
		os.Exit(1)
	}
	cfg.Log = log
	lambda.Start(bridge.New(cfg).Handle)
}
