package format

import (
	"strings"
	"testing"
)

func TestColored(t *testing.T) {
	for text, want := range map[string]string{
		`{"a:\"": -1.50e+3, "<": ["x: ", null, true]}`: `{&#34;a:\&#34;&#34;: <span class="json-number">-1.50e+3</span>, &#34;&lt;&#34;: [<span class="json-string">&#34;x: &#34;</span>, <span class="json-null">null</span>, <span class="json-boolean">true</span>]}`,
		`"<b>`: `<span class="json-string">&#34;&lt;b&gt;</span>`, // the beginning of a long value
		``:     ``,
	} {
		var out strings.Builder
		if err := Colored(text).Render(t.Context(), &out); err != nil || out.String() != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", text, err, out.String(), want)
		}
	}
}
