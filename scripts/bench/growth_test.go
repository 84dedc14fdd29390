package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// grown is two axes of two peers; Stele lacks one size.
func grown() ([]axis, map[string]growthResults) {
	axes := []axis{{name: "commits", sizes: []int{10_000, 1_000_000}}, {name: "keys", sizes: []int{1000}}}
	numbers := func(rate float64) map[metric]float64 {
		return map[metric]float64{commitRate: rate, getLatency: 0.25, residentMem: 120, firstRead: 1.5, onDisk: 2000}
	}
	return axes, map[string]growthResults{
		"stele": {{"commits", 10_000}: numbers(30_000), {"keys", 1000}: numbers(20_000)},
		"etcd":  {{"commits", 10_000}: numbers(15_000), {"commits", 1_000_000}: numbers(10_000), {"keys", 1000}: numbers(40_000)},
	}
}

func TestWriteGrowth_DividesByEtcd(t *testing.T) {
	axes, all := grown()
	var b strings.Builder
	writeGrowth(&b, axes, all)
	want := `|  | commits/s | get p50, ms | memory, MB | restart, s | disk, MB |
| --- | --- | --- | --- | --- | --- |
| 10k commits | 30.0k (2.00) | 0.25 (1.00) | 120 (1.00) | 1.50 (1.00) | 2.0k (1.00) |
| 1M commits | etcd 10.0k | etcd 0.25 | etcd 120 | etcd 1.50 | etcd 2.0k |
| 1k keys | 20.0k (0.50) | 0.25 (1.00) | 120 (1.00) | 1.50 (1.00) | 2.0k (1.00) |
`
	if b.String() != want {
		t.Errorf("table is\n%s\nwant\n%s", b.String(), want)
	}
}

func TestPlotGrowth_IsReadableInBothThemes(t *testing.T) {
	axes, all := grown()
	var b strings.Builder
	if err := plotGrowth(&b, axes, all); err != nil {
		t.Fatal(err)
	}
	svg := b.String()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is not XML: %v", err)
		}
	}
	for _, want := range []string{">stele<", ">etcd<", ">commits<", ">keys<", ">commits/s<", ">1M<", "#2F81F7", "#E07B1A"} {
		if !strings.Contains(svg, want) {
			t.Errorf("the plot has no %s", want)
		}
	}
	for _, color := range []string{"#000000", "#FFFFFF"} {
		if strings.Contains(svg, color) {
			t.Errorf("the plot has the color %s, which one of the themes hides", color)
		}
	}
	for text := range strings.SplitSeq(svg, "<text") {
		if style, _, ok := strings.Cut(text, "</text>"); ok && !strings.Contains(style, "fill:#") {
			t.Errorf("a text has the default color, black: %s", style)
		}
	}
}

func TestPlotGrowth_WithoutResults(t *testing.T) {
	axes, _ := grown()
	if err := plotGrowth(io.Discard, axes, nil); err != nil {
		t.Error(err)
	}
}

func TestDecades(t *testing.T) {
	for _, tt := range [][4]float64{{3, 20, 1, 100}, {10, 1000, 10, 1000}, {10, 10, 10, 100}, {0.02, 0.5, 0.01, 1}, {9, 2, 1, 10}} {
		if low, high := decades(tt[0], tt[1]); low != tt[2] || high != tt[3] {
			t.Errorf("decades of %v to %v are %v to %v, want %v to %v", tt[0], tt[1], low, high, tt[2], tt[3])
		}
	}
}

func TestAxes_DataHasTheSizeOfThePoint(t *testing.T) {
	for _, quick := range []bool{false, true} {
		b := &bench{opts: &options{quick: quick, long: true}}
		for _, a := range b.axes() {
			for _, size := range a.sizes {
				d := a.data(size)
				got := map[string]int{"commits": a.commits(size), "tenants": len(d.tenants), "keys": len(d.keys) * len(d.tenants)}[a.name]
				if got != size {
					t.Errorf("quick %t: at %d %s there are %d", quick, size, a.name, got)
				}
			}
		}
	}
}
