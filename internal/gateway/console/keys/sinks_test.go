package keys

import (
	"strings"
	"testing"
)

func TestSinksIn(t *testing.T) {
	const document = `{"sinks":{"a":{},"b":{}},"routes":[{"prefix":"","sinks":["a"]},{"prefix":"param","sinks":["b"]},{"prefix":"param/none/","sinks":[]}]}`
	for key, want := range map[string]string{"x/y": "a", "param/x": "b", "parameters/x": "b", "param/none/x": ""} {
		if names, known := sinksIn(document, key); !known || strings.Join(names, ",") != want {
			t.Errorf("%s goes to %v, %v", key, names, known)
		}
	}
	if _, known := sinksIn("", "x/y"); known {
		t.Error("without a document the sinks are known")
	}
}
