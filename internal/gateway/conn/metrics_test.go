package conn

import (
	"bytes"
	"log/slog"
	"regexp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// counted is the value of a counter.
func counted(c prometheus.Metric) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(err)
	}
	return m.GetCounter().GetValue()
}

// lines is a log that a test reads.
type lines struct{ bytes.Buffer }

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&l.Buffer, nil)) }

var similar = regexp.MustCompile(`similar=\d+`)

// similar returns how many messages each message stands for, in order of their text.
func (l *lines) similar() []string {
	found := similar.FindAllString(l.String(), -1)
	slices.Sort(found)
	return found
}

var discard = slog.New(slog.DiscardHandler)
