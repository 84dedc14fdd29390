package main

import (
	"bytes"
	"image/color"
	"io"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colors that can be read on a white page and on a black one; the background is
// transparent.
var (
	ink  = color.NRGBA{0x73, 0x7b, 0x85, 0xff}
	grid = color.NRGBA{0x73, 0x7b, 0x85, 0x40}
	// series are the lines of the peers, in their order.
	series = []struct {
		peer  string
		color color.Color
		dash  []vg.Length
	}{
		{"stele", color.NRGBA{0x2f, 0x81, 0xf7, 0xff}, nil},
		{"etcd", color.NRGBA{0xe0, 0x7b, 0x1a, 0xff}, []vg.Length{4, 3}},
	}
)

// The size of one panel of a plot.
const (
	panelWidth  vg.Length = 230
	panelHeight vg.Length = 150
)

// plotGrowth writes small multiples as SVG: a column per axis, a row per metric, both
// scales logarithmic. All panels of a row have the same scale.
func plotGrowth(w io.Writer, axes []axis, all map[string]growthResults) error {
	panels := make([][]*plot.Plot, len(metrics))
	for row, m := range metrics {
		low, high := math.Inf(1), math.Inf(-1)
		for col, a := range axes {
			p, err := panel(a, m, all)
			if err != nil {
				return err
			}
			if row == 0 {
				p.Title.Text = a.name
			}
			if col == 0 {
				p.Y.Label.Text = m.unit
			}
			panels[row] = append(panels[row], p)
			low, high = min(low, p.Y.Min), max(high, p.Y.Max)
		}
		for _, p := range panels[row] {
			p.Y.Min, p.Y.Max = decades(low, high)
		}
	}
	last := panels[0][len(axes)-1]
	last.Legend.Top, last.Legend.Padding = true, 4
	canvas := vgsvg.New(panelWidth*vg.Length(len(axes)), panelHeight*vg.Length(len(metrics)))
	tiles := draw.Tiles{Rows: len(metrics), Cols: len(axes), PadX: 12, PadY: 10, PadTop: 4, PadBottom: 4, PadLeft: 4, PadRight: 12}
	canvases := plot.Align(panels, tiles, draw.New(canvas))
	for row := range panels {
		for col, p := range panels[row] {
			p.Draw(canvases[row][col])
		}
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return err
	}
	_, err := strings.NewReplacer("font-family:Liberation Sans", "font-family:Helvetica,Arial,Liberation Sans,sans-serif").WriteString(w, b.String())
	return err
}

// panel plots one metric over one axis.
func panel(a axis, m metric, all map[string]growthResults) (*plot.Plot, error) {
	p := plot.New()
	p.BackgroundColor = color.Transparent
	for _, style := range []*text.Style{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		style.Color = ink
		style.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: 9}
	}
	for _, ax := range []*plot.Axis{&p.X, &p.Y} {
		ax.Color, ax.Tick.Color = ink, ink
		ax.Scale, ax.Tick.Marker = plot.LogScale{}, logTicks{}
		ax.Padding = 0
	}
	g := plotter.NewGrid()
	g.Horizontal.Color, g.Vertical.Color = grid, nil
	p.Add(g)
	p.X.Min, p.X.Max = float64(a.sizes[0]), float64(a.sizes[len(a.sizes)-1])
	p.Y.Min, p.Y.Max = math.Inf(1), math.Inf(-1)
	for _, s := range series {
		var points plotter.XYs
		for _, size := range a.sizes {
			if y, ok := all[s.peer][growthPoint{a.name, size}][m]; ok && y > 0 {
				points = append(points, plotter.XY{X: float64(size), Y: y})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width, line.Dashes = s.color, 1.5, s.dash
		dots.Color, dots.Shape, dots.Radius = s.color, draw.CircleGlyph{}, 2
		p.Add(line, dots)
		if m == metrics[0] && a.name == "keys" {
			p.Legend.Add(s.peer, line, dots)
		}
	}
	p.X.Min, p.X.Max = decades(p.X.Min, p.X.Max)
	return p, nil
}

// decades widens a range to powers of ten; an empty one becomes 1 to 10.
func decades(low, high float64) (float64, float64) {
	if low > high {
		return 1, 10
	}
	from, to := math.Floor(math.Log10(low)+1e-9), math.Ceil(math.Log10(high)-1e-9)
	if from == to {
		to++
	}
	return math.Pow(10, from), math.Pow(10, to)
}

// logTicks are the powers of ten, each with a label.
type logTicks struct{}

func (logTicks) Ticks(low, high float64) (ticks []plot.Tick) {
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		v := math.Pow(10, e)
		if v < low*(1-1e-9) || v > high*(1+1e-9) {
			continue
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: numberLabel(v)})
	}
	return ticks
}
