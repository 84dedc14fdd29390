package page

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stelehq/stele/internal/gateway/console/format"
	"github.com/stelehq/stele/internal/gateway/console/login"
	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// axisSpans is the number of bars above the time slider.
	axisSpans = 96
	// axisTicks is the number of times below it.
	axisTicks = 5
	// axisWidth and axisHeight are the size of the drawing, in its own units.
	axisWidth, axisHeight = 960, 24
	// minWindow is the shortest time that the axis shows.
	minWindow = 2 * time.Minute
	// zoomStep is how many times longer the next longer window is.
	zoomStep = 4
)

// Mark is a commit that the time axis marks.
type Mark struct {
	Revision uint64
	Time     *timestamppb.Timestamp
}

// window is the part of the time that the axis shows; the zero window is all of the history.
type window struct{ from, to time.Time }

func (w window) all() bool { return w.from.IsZero() }

func (w window) length() time.Duration { return w.to.Sub(w.from) }

// around is a window of a length around a time.
func around(t time.Time, length time.Duration) window {
	from := t.Add(-length / 2).Truncate(time.Second)
	return window{from, from.Add(length.Truncate(time.Second))}
}

// String is the window as forms and the cookie have it.
func (w window) String() string {
	if w.all() {
		return "all"
	}
	return fmt.Sprintf("%d-%d", w.from.Unix(), w.to.Unix())
}

func parseWindow(s string) window {
	from, to, _ := strings.Cut(s, "-")
	a, err := strconv.ParseInt(from, 10, 64)
	b, err2 := strconv.ParseInt(to, 10, 64)
	if err != nil || err2 != nil || a >= b || a < 0 || b > math.MaxUint32 {
		return window{}
	}
	return window{time.Unix(a, 0), time.Unix(b, 0)}
}

// axis is the time axis at the top of a page: linear in time, with the number of commits.
type axis struct {
	counts *stelev1.CountCommitsResponse
	zoomed bool
	first  time.Time // of the history
	last   time.Time
	shown  time.Time // the state's
}

// zoomCookie stores the part of the time that the user looks at, for one tenant.
const zoomCookie = "stele-zoom"

// Zoom stores the part of the time that was chosen, and redirects to the page that it was chosen on.
func Zoom(v *View) error {
	w := parseWindow(v.R.PostFormValue("window"))
	choice := &http.Cookie{
		Name: zoomCookie, Value: string(v.Tenant) + "." + w.String(), Path: "/", HttpOnly: true, Secure: v.Cookies.Secure, SameSite: http.SameSiteStrictMode,
	}
	if w.all() {
		choice.Value, choice.MaxAge = "", -1
	}
	http.SetCookie(v.W, choice)
	return v.Redirect(login.LocalPath(v.R.PostFormValue("to")))
}

// window is the part of the time that the user has chosen for the tenant.
func (v *View) window() window {
	c, err := v.R.Cookie(zoomCookie)
	if err != nil {
		return window{}
	}
	chosen, ok := strings.CutPrefix(c.Value, string(v.Tenant)+".")
	if !ok {
		return window{}
	}
	return parseWindow(chosen)
}

// loadAxis counts the commits along the axis.
func (v *View) loadAxis(ctx context.Context, w window) (err error) {
	req := &stelev1.CountCommitsRequest{Spans: axisSpans}
	if !w.all() {
		req.Since, req.Until = timestamppb.New(w.from), timestamppb.New(w.to)
	}
	counts, err := v.Ledger.CountCommits(ctx, req)
	if err == nil && counts.Until != nil {
		v.axis = &axis{counts: counts, zoomed: !w.all(), first: counts.First.AsTime()}
	}
	return err
}

// placeAxis puts the state that the page shows on the axis.
func (v *View) placeAxis() {
	if v.axis == nil {
		return
	}
	v.axis.last = v.Head.GetTime().AsTime()
	v.axis.shown = v.axis.last
	if v.placed != nil {
		v.axis.shown = v.placed.AsTime()
	}
}

// window is what the axis shows, in whole seconds.
func (a *axis) window() window {
	w := window{a.counts.Since.AsTime().Truncate(time.Second), a.counts.Until.AsTime().Add(time.Second - 1).Truncate(time.Second)}
	if w.length() < time.Second {
		w.to = w.from.Add(time.Second)
	}
	return w
}

// at is where a time is on the axis, in units of the drawing.
func (a *axis) at(t time.Time) float64 {
	w := a.window()
	return axisWidth * float64(t.Sub(w.from)) / float64(w.length())
}

// position is where the slider is, in whole seconds: for the newest commit the end of its second,
// which is the end of the axis.
func (a *axis) position() int64 {
	if a.shown.Equal(a.last) {
		return a.shown.Add(time.Second - 1).Unix()
	}
	return a.shown.Unix()
}

// closer, wider, earlier and later are the windows that the buttons choose.
func (a *axis) closer() window {
	return around(a.shown, max(a.window().length()/zoomStep, minWindow))
}

func (a *axis) wider() window {
	w := around(a.shown, a.window().length()*zoomStep)
	if !a.zoomed || !w.from.After(a.first) && !w.to.Before(a.last) {
		return window{}
	}
	return w
}

func (a *axis) earlier() window { return a.moved(-a.window().length() / 2) }

func (a *axis) later() window { return a.moved(a.window().length() / 2) }

func (a *axis) moved(by time.Duration) window {
	w := a.window()
	return window{w.from.Add(by), w.to.Add(by)}
}

// bar is one span of time with commits.
type bar struct {
	x, y, width, height string
	title               string
}

// bars are the spans that have commits. Their heights grow with the square root of the number of
// commits, so that a few commits next to an import are visible.
func (a *axis) bars() (out []bar) {
	most, before := uint64(0), a.counts.Before
	for _, r := range a.counts.Revisions {
		most, before = max(most, r-before), r
	}
	before = a.counts.Before
	since, until := a.counts.Since.AsTime(), a.counts.Until.AsTime()
	spans := len(a.counts.Revisions)
	for i, r := range a.counts.Revisions {
		n := r - before
		before = r
		if n == 0 {
			continue
		}
		height := max(axisHeight*math.Sqrt(float64(n)/float64(most)), 3)
		from := since.Add(until.Sub(since) / time.Duration(spans) * time.Duration(i))
		out = append(out, bar{
			x: units(a.at(from)), y: units(axisHeight - height), height: units(height),
			width: units(max(axisWidth*float64(until.Sub(since))/float64(a.window().length())/float64(spans)-1, 1)),
			title: from.UTC().Format("2006-01-02 15:04 UTC") + ": " + format.Plural(int(n), "commit"),
		})
	}
	return out
}

// summary describes the drawing.
func (a *axis) summary(marks int) string {
	w := a.window()
	n := a.counts.Revisions[len(a.counts.Revisions)-1] - a.counts.Before
	text := fmt.Sprintf("%s from %s to %s", format.Plural(int(n), "commit"), w.from.UTC().Format(time.DateOnly), w.to.UTC().Format(time.DateOnly))
	if marks > 0 {
		text += ", with " + format.Plural(marks, "mark") + " for versions of the key"
	}
	return text
}

// ticks are times at equal distances: fewer of them if they would be less than a second apart,
// because their labels would repeat.
func (a *axis) ticks() (out []time.Time) {
	w, spaces := a.window(), axisTicks-1
	for spaces > 1 && w.length() < time.Duration(spaces)*time.Second {
		spaces /= 2
	}
	step := w.length() / time.Duration(spaces)
	for i := range spaces + 1 {
		out = append(out, w.from.Add(time.Duration(i)*step))
	}
	return out
}

// tick is a time as precise as the axis.
func (a *axis) tick(t time.Time) string {
	switch length := a.window().length(); {
	case length > 5*24*time.Hour:
		return t.UTC().Format(time.DateOnly)
	case length > 2*time.Hour:
		return t.UTC().Format("01-02 15:04")
	}
	return t.UTC().Format(time.TimeOnly)
}

func units(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }

// sliderText describes the slider's position.
func (v *View) sliderText() string {
	return fmt.Sprintf("revision %d of %d, %s", v.sliderRevision(), v.Head.Snapshot.Head, v.axis.shown.UTC().Format("2006-01-02 15:04:05 UTC"))
}

// sliderCommit is the revision whose time is the slider's position; 0 for the head.
func (v *View) sliderCommit() ledger.Revision {
	if v.At != 0 {
		return v.At
	}
	if v.Page == "commits" {
		number, _, _ := strings.Cut(v.Rest, "/")
		n, _ := strconv.ParseUint(number, 10, 64)
		return ledger.Revision(n)
	}
	return 0
}
