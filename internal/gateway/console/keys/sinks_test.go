package keys

import (
	"testing"

	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func TestRouteOf(t *testing.T) {
	const document = `{"sinks":{"a":{"kind":"directory"},"b":{"kind":"directory"}},"routes":[{"prefix":"","sinks":["a"]},{"prefix":"param","sinks":["b"]},{"prefix":"param/none/","sinks":[]}]}`
	for key, want := range map[string]string{"x/y": "a", "param/x": "b", "parameters/x": "a", "param/none/x": ""} {
		route, known := routeOf(document, key)
		if !known {
			t.Fatal("the routes are not known")
		}
		for _, sink := range []string{"a", "b"} {
			if got := route.Wants(sink); got != (sink == want) {
				t.Errorf("%s goes to %s: %v", key, sink, got)
			}
		}
	}
	if _, known := routeOf("", "x/y"); known {
		t.Error("without a document the routes are known")
	}
}

func TestRemains(t *testing.T) {
	for _, c := range []struct {
		drift *stelev1.Drift
		want  bool
	}{
		{&stelev1.Drift{Action: stelev1.Drift_ACTION_REPORTED}, true},
		{&stelev1.Drift{Action: stelev1.Drift_ACTION_REPAIRED}, false},
		{&stelev1.Drift{Action: stelev1.Drift_ACTION_REPAIRED, Failure: "the disk is full"}, true},
		{&stelev1.Drift{Action: stelev1.Drift_ACTION_ADOPTED}, false},
	} {
		if got := remains(c.drift); got != c.want {
			t.Errorf("%v: %v", c.drift, got)
		}
	}
}
