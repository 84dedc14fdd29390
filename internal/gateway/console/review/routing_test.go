package review

import "testing"

func TestRouting(t *testing.T) {
	const document = `{"sinks":{"a":{"kind":"directory"},"b":{"kind":"directory"}},"routes":[{"prefix":"","sinks":["a"]},{"prefix":"param","sinks":["b"]},{"prefix":"param/none/","sinks":[]}]}`
	r := ParseRouting(document)
	if !r.Known() || ParseRouting("").Known() {
		t.Error("the routes are known with a document only")
	}
	for key, want := range map[string]string{"x/y": "a", "param/x": "b", "parameters/x": "a", "param/none/x": ""} {
		for _, sink := range []string{"a", "b"} {
			if got := r.Wants(key, sink); got != (sink == want) {
				t.Errorf("%s goes to %s: %v", key, sink, got)
			}
		}
	}
	if !(Routing{}).Wants("x/y", "a") {
		t.Error("a sink is left out although the routes are not known")
	}
}
