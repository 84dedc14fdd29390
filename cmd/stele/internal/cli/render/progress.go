package render

import (
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/stelehq/stele/cmd/stele/internal/output"
)

// NewBar draws how far something is on a terminal; nil elsewhere.
func NewBar(total int64, options ...progressbar.Option) *progressbar.ProgressBar {
	if !output.NewPrinter(os.Stderr, output.Text).Terminal() {
		return nil
	}
	return progressbar.NewOptions64(total, append(options,
		progressbar.OptionSetWriter(os.Stderr), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth())...)
}
