package fleet

import (
	"fmt"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/gateway/console/format"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

const (
	// sparkWidth and sparkHeight are the size of a chart, in pixels.
	sparkWidth, sparkHeight = 180, 28
	// sparkSpan is the time that a chart shows.
	sparkSpan = 6 * time.Hour
	// sparkColumn is the width of a point, whose height is the largest lag of its time.
	sparkColumn = 2
)

// spark is the chart of a sink's lag.
type spark struct {
	points  string // of a polyline
	most    uint64
	samples int
	since   time.Time
}

// sparkOf draws samples, which are in the order of their times, up to now.
func sparkOf(samples []*stelev1.LagSample, now time.Time) spark {
	s := spark{samples: len(samples)}
	if len(samples) == 0 {
		return s
	}
	s.since = samples[0].Time.AsTime()
	const columns = sparkWidth / sparkColumn
	var lag [columns]uint64
	var known [columns]bool
	for _, sample := range samples {
		age := now.Sub(sample.Time.AsTime())
		if age < 0 || age >= sparkSpan {
			continue
		}
		at := columns - 1 - int(age*columns/sparkSpan)
		lag[at], known[at] = max(lag[at], sample.LagRevisions), true
		s.most = max(s.most, sample.LagRevisions)
	}
	var points []string
	for i := range columns {
		if known[i] {
			height := float64(lag[i]) / float64(max(s.most, 1)) * (sparkHeight - 3)
			points = append(points, fmt.Sprintf("%d,%.1f", i*sparkColumn, sparkHeight-1.5-height))
		}
	}
	if len(points) == 1 { // a line needs two
		x, y, _ := strings.Cut(points[0], ",")
		points = append(points, fmt.Sprintf("%s.9,%s", x, y))
	}
	s.points = strings.Join(points, " ")
	return s
}

// text is the chart in words.
func (s spark) text() string {
	if s.samples == 0 {
		return "no sample yet"
	}
	if s.most == 0 {
		return "never behind"
	}
	return "at most " + format.Plural(int(s.most), "revision")
}
