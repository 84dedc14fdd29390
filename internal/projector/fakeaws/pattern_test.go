package fakeaws_test

import (
	"testing"

	"github.com/stelehq/stele/internal/projector/fakeaws"
)

// The patterns are from
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
// and from the pages on arrays and null values next to it.
func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern string
		match   []string
		not     []string
	}{
		{`{"a":["x"],"b":["y"]}`, []string{`{"a":"x","b":"y","c":1}`}, []string{`{"a":"x"}`, `{"a":"x","b":"z"}`, `{"a":"X","b":"y"}`}},
		{`{"a":["x","y"]}`, []string{`{"a":"y"}`, `{"a":["q","y"]}`}, []string{`{"a":["q"]}`, `{"a":[]}`, `{"a":{"x":"y"}}`}},
		{`{"a":[""]}`, []string{`{"a":""}`}, []string{`{"a":null}`, `{}`}},
		{`{"a":[null]}`, []string{`{"a":null}`}, []string{`{"a":""}`, `{}`}},
		{`{"a":[300]}`, []string{`{"a":300}`}, []string{`{"a":300.0}`, `{"a":3.0e2}`, `{"a":"300"}`}},
		{`{"a":[true]}`, []string{`{"a":true}`}, []string{`{"a":false}`, `{"a":"true"}`}},
		{`{"d":{"s":["run"]}}`, []string{`{"d":{"s":"run"}}`, `{"d":[{"s":"no"},{"s":"run"}]}`}, []string{`{"d":"run"}`, `{"d":{"t":{"s":"run"}}}`, `{}`}},
		{`{"d":{"a":["1"],"b":["2"]}}`, []string{`{"d":[{"a":"1","b":"2"}]}`}, []string{`{"d":[{"a":"1"},{"b":"2"}]}`}},
		{`{"a":[{"prefix":"us-"}]}`, []string{`{"a":"us-east-1"}`, `{"a":["eu","us-"]}`}, []string{`{"a":"US-east"}`, `{"a":1}`}},
		{`{"a":[{"prefix":{"equals-ignore-case":"EventB"}}]}`, []string{`{"a":"eventbridge"}`}, []string{`{"a":"event"}`}},
		{`{"a":[{"suffix":".png"}]}`, []string{`{"a":"x.png"}`}, []string{`{"a":"x.PNG"}`}},
		{`{"a":[{"suffix":{"equals-ignore-case":".PNG"}}]}`, []string{`{"a":"x.png"}`}, []string{`{"a":"png"}`}},
		{`{"a":[{"equals-ignore-case":"alice"}]}`, []string{`{"a":"ALICE"}`}, []string{`{"a":"alicea"}`}},
		{`{"a":[{"anything-but":"x"}]}`, []string{`{"a":"y"}`, `{"a":1}`}, []string{`{"a":"x"}`, `{}`}},
		{`{"a":[{"anything-but":["x","y"]}]}`, []string{`{"a":"z"}`}, []string{`{"a":"x"}`, `{"a":"y"}`}},
		{`{"a":[{"anything-but":[100,200]}]}`, []string{`{"a":300}`}, []string{`{"a":100}`}},
		{`{"a":[{"anything-but":{"prefix":"us-"}}]}`, []string{`{"a":"eu"}`}, []string{`{"a":"us-1"}`}},
		{`{"a":[{"anything-but":{"prefix":["us-","eu-"]}}]}`, []string{`{"a":"ap-1"}`}, []string{`{"a":"us-1"}`, `{"a":"eu-1"}`}},
		{`{"a":[{"anything-but":{"suffix":".png"}}]}`, []string{`{"a":"x.gif"}`}, []string{`{"a":"x.png"}`}},
		{`{"a":[{"anything-but":{"equals-ignore-case":"init"}}]}`, []string{`{"a":"x"}`}, []string{`{"a":"INIT"}`}},
		{`{"a":[{"anything-but":{"wildcard":"*/lib/*"}}]}`, []string{`{"a":"/usr/bin"}`}, []string{`{"a":"/usr/lib/x"}`}},
		{`{"a":[{"numeric":["=",300]}]}`, []string{`{"a":300}`, `{"a":3.0e2}`}, []string{`{"a":301}`, `{"a":"300"}`}},
		{`{"a":[{"numeric":[">",10,"<=",20]}]}`, []string{`{"a":10.5}`, `{"a":20}`}, []string{`{"a":10}`, `{"a":20.1}`}},
		{`{"a":[{"numeric":["<",-10]}]}`, []string{`{"a":-11}`}, []string{`{"a":-10}`}},
		{`{"a":[{"exists":true}]}`, []string{`{"a":null}`, `{"a":"x"}`}, []string{`{}`, `{"a":{"b":1}}`}},
		{`{"a":[{"exists":false}]}`, []string{`{}`, `{"b":1}`}, []string{`{"a":"x"}`}},
		{`{"d":{"a":[{"exists":false}]}}`, []string{`{"d":{"b":1}}`, `{}`}, []string{`{"d":{"a":1}}`}},
		{`{"a":[{"exists":false},"x"]}`, []string{`{}`, `{"a":"x"}`}, []string{`{"a":"y"}`}},
		{`{"a":[{"cidr":"10.0.0.0/24"}]}`, []string{`{"a":"10.0.0.255"}`}, []string{`{"a":"10.0.1.0"}`, `{"a":"x"}`}},
		{`{"a":[{"wildcard":"dir/*.png"}]}`, []string{`{"a":"dir/a/b.png"}`, `{"a":"dir/.png"}`}, []string{`{"a":"dir.png"}`, `{"a":"xdir/a.png"}`}},
		{`{"a":[{"wildcard":"*ab*ab"}]}`, []string{`{"a":"abab"}`, `{"a":"xabxabyab"}`}, []string{`{"a":"ab"}`, `{"a":"aab"}`}},
		{`{"a":[{"wildcard":"a\\*\\\\é*"}]}`, []string{`{"a":"a*\\éx"}`}, []string{`{"a":"ax\\é"}`}},
		{`{"a":[{"wildcard":"plain"}]}`, []string{`{"a":"plain"}`}, []string{`{"a":"plainly"}`}},
		{`{"x":["1"],"$or":[{"a":["1"]},{"b":{"c":["2"]}}]}`, []string{`{"x":"1","a":"1"}`, `{"x":"1","b":{"c":"2"}}`}, []string{`{"x":"1"}`, `{"a":"1"}`}},
		{`{"$or":["1"]}`, []string{`{"$or":"1"}`}, []string{`{}`}},
	} {
		p, err := fakeaws.ParsePattern([]byte(c.pattern))
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		for _, event := range c.match {
			if !p.Match([]byte(event)) {
				t.Errorf("%s does not match %s", c.pattern, event)
			}
		}
		for _, event := range c.not {
			if p.Match([]byte(event)) {
				t.Errorf("%s matches %s", c.pattern, event)
			}
		}
	}
}

func TestPattern_Invalid(t *testing.T) {
	for _, pattern := range []string{
		``, `[]`, `{}`, `{"a":{}}`, `{"a":[]}`, `{"a":"x"}`, `{"a":[["x"]]}`, `{"a":["x"]} 1`,
		`{"a":[{}]}`, `{"a":[{"prefix":"x","suffix":"y"}]}`, `{"a":[{"prefix":1}]}`, `{"a":[{"contains":"x"}]}`,
		`{"a":[{"exists":"true"}]}`, `{"a":[{"anything-but":[]}]}`, `{"a":[{"anything-but":["x",1]}]}`, `{"a":[{"anything-but":null}]}`,
		`{"a":[{"numeric":[">"]}]}`, `{"a":[{"numeric":["~",1]}]}`, `{"a":[{"numeric":["<",1,">",0]}]}`, `{"a":[{"numeric":[">",6e9]}]}`,
		`{"a":[{"wildcard":"a**b"}]}`, `{"a":[{"wildcard":"a\\b"}]}`, `{"a":[{"cidr":"10.0.0.0"}]}`,
	} {
		if _, err := fakeaws.ParsePattern([]byte(pattern)); err == nil {
			t.Errorf("%s is taken for a pattern", pattern)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add([]byte(`{"a":[{"anything-but":{"wildcard":["*/lib/*"]}}],"$or":[{"b":[1]},{"c":[null]}]}`), []byte(`{"a":"x","b":1}`))
	f.Fuzz(func(t *testing.T, pattern, event []byte) {
		if p, err := fakeaws.ParsePattern(pattern); err == nil {
			p.Match(event)
		}
	})
}
