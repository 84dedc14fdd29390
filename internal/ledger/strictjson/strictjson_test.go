package strictjson

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

type names []string

func (n *names) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, (*[]string)(n)) }

func TestUnmarshal_Errors(t *testing.T) {
	for text, want := range map[string]string{
		`5`:                                  "it must be an object",
		`{"other":1}`:                        `unknown field "/other"`,
		`{"list":5}`:                         `"/list": it must be a list`,
		`{"list":[{"names":5}]}`:             `"/list/0/names": it must be a list`,
		`{"list":[{"names":["a",5]}]}`:       `"/list/0/names/1": it must be a string`,
		`{"list":[{"before":"x"}]}`:          `"/list/0/before": it must be a time, for example 2025-03-04T08:00:00Z`,
		`{"list":[{"on":1}]}`:                `"/list/0/on": it must be true or false`,
		`{"list":[{"count":-1}]}`:            `"/list/0/count": it must be a whole number that is not negative`,
		`{"list":[{"count":"1"}]}`:           `"/list/0/count": it must be a whole number that is not negative`,
		`{"list":[{"share":"1"}]}`:           `"/list/0/share": it must be a number`,
		`{"list":[{"names":["a"],"nam":1}]}`: `unknown field "/list/0/nam"`,
	} {
		var into struct {
			List []struct {
				Names  names     `json:"names"`
				Before time.Time `json:"before"`
				On     bool      `json:"on"`
				Count  uint64    `json:"count"`
				Share  *float64  `json:"share"`
			} `json:"list"`
		}
		if err := Unmarshal([]byte(text), &into, "it must be an object"); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
