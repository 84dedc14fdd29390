package changes

import (
	"cmp"

	"github.com/a-h/templ"
	"github.com/stelehq/stele/internal/gateway/console/page"
)

// show shows a page of the change set.
func (s *set) show(v *page.View, code int, title string, content func(*page.View, *set) templ.Component) error {
	if err := v.Load(); err != nil {
		return err
	}
	return v.Show(code, title, v.Command("apply", "-f", "FILE", "-m", cmp.Or(s.Message, "REASON")), content(v, s))
}
