package format

import (
	"context"
	"io"
	"regexp"
	"strings"

	"github.com/a-h/templ"
)

// jsonToken matches what has a color in a JSON text, and the names of members with their colons.
var jsonToken = regexp.MustCompile(`"(?:\\.|[^"\\])*"?\s*:?|-?[0-9][0-9.eE+-]*|true|false|null`)

// Colored is a JSON text with the colors of the editor.
func Colored(text string) templ.Component {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		var out strings.Builder
		end := 0
		for _, at := range jsonToken.FindAllStringIndex(text, -1) {
			token := text[at[0]:at[1]]
			if strings.HasSuffix(token, ":") {
				continue
			}
			out.WriteString(templ.EscapeString(text[end:at[0]]))
			out.WriteString(`<span class="json-` + KindOf(token) + `">` + templ.EscapeString(token) + `</span>`)
			end = at[1]
		}
		out.WriteString(templ.EscapeString(text[end:]))
		_, err := io.WriteString(w, out.String())
		return err
	})
}
