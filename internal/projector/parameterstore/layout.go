package parameterstore

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

// naming is the part of the settings that says which names parameters have.
type naming struct {
	// Preset is a layout with a name: "aws-sample" writes what AWS's reference
	// implementation of multi-tenant configuration reads.
	Preset string `json:"preset"`
	// Layout is a parameter's name with {tenant} as a level of it, and {path}, which
	// is the key without Strip, at the end. {prefix} and {env} stand for Prefix and
	// Env. Empty means /{prefix}/{tenant}/{path}.
	Layout string `json:"layout"`
	// Prefix is empty for "stele".
	Prefix string `json:"prefix"`
	Env    string `json:"env"`
	// Strip is what all keys of the sink begin with, and their parameters' names do
	// not have; a key that begins otherwise is refused, so that no two keys have the
	// same name. Empty leaves keys whole, with their tags.
	Strip string `json:"strip"`
}

// presets by name. The AWS sample (github.com/aws-samples/sample-config-management-service,
// ssm-config.strategy.ts) answers a request for param_config_REST of a tenant with the
// parameter /config-service/TENANT/ENV/REST, where ENV is its NODE_ENV, or dev, and
// REST is a service's and a parameter's name with a slash between them.
var presets = map[string]naming{
	"":           {Layout: "/{prefix}/{tenant}/{path}"},
	"aws-sample": {Layout: "/config-service/{tenant}/{env}/{path}", Env: "dev", Strip: "paramconfig/"},
}

// poison are levels that the AWS sample refuses, and with them everything that it was
// about to load, of all tenants (new-parma-mapper.util.ts).
var poison = []string{"__proto__", "constructor", "prototype"}

// Of names: https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-parameter-name-constraints.html
const (
	maxLevels = 15
	maxARN    = 1011 // characters of a parameter's ARN, its name included
)

// layout makes names of keys: before, the tenant, after, and the key without strip.
type layout struct {
	before, after string
	strip         string
	poison        []string
	// flat forbids a key that is a level of another: a program that reads the parameters
	// as a tree would see only one of them.
	flat bool
	// arn is how many characters of the ARN are before the name, at most.
	arn int
}

func newLayout(n naming, region string) (layout, error) {
	preset, ok := presets[n.Preset]
	if !ok {
		return layout{}, fmt.Errorf("unknown preset %q: use \"aws-sample\", or a layout", n.Preset)
	}
	l := layout{strip: cmp.Or(n.Strip, preset.Strip), arn: len("arn:aws-us-gov:ssm:" + region + ":123456789012:parameter")}
	if n.Preset != "" {
		l.poison, l.flat = poison, true
	}
	template := cmp.Or(n.Layout, preset.Layout)
	for _, v := range []struct{ name, value, fallback string }{{"prefix", n.Prefix, "stele"}, {"env", n.Env, preset.Env}} {
		used := strings.Contains(template, "{"+v.name+"}")
		switch {
		case v.value != "" && !used:
			return layout{}, fmt.Errorf("%s is %q, but the layout %s has no {%s}", v.name, v.value, template, v.name)
		case cmp.Or(v.value, v.fallback) == "" && used:
			return layout{}, fmt.Errorf("the layout %s has {%s}: also set \"%s\"", template, v.name, v.name)
		}
		template = strings.ReplaceAll(template, "{"+v.name+"}", cmp.Or(v.value, v.fallback))
	}
	before, rest, tenant := strings.Cut(template, "{tenant}")
	after, path := strings.CutSuffix(rest, "{path}")
	if !tenant || !path || !strings.HasPrefix(before, "/") || !strings.HasSuffix(before, "/") || !strings.HasPrefix(after, "/") || !strings.HasSuffix(after, "/") {
		return layout{}, fmt.Errorf("the layout %s is not like /config/{tenant}/{path}: {tenant} is a level of it, and {path} the end", template)
	}
	l.before, l.after = before, after
	if _, err := ledger.ParsePrefix(l.strip); err != nil {
		return layout{}, fmt.Errorf("strip: %w", err)
	}
	sample := l.base("t") + "k"
	for i := range len(sample) {
		if !nameByte(sample[i]) {
			return layout{}, fmt.Errorf("the layout %s has %q: a parameter's name has a-z, A-Z, 0-9, \".\", \"_\", \"-\" and \"/\"", template, sample[i])
		}
	}
	if err := l.check(sample); err != nil {
		return layout{}, fmt.Errorf("the layout %s: %w", template, err)
	}
	return l, nil
}

// above lists the names that are levels of name: the names of keys that cannot exist
// next to its own.
func (l layout) above(t ledger.Tenant, name string) []string {
	var out []string
	for i := len(l.base(t)) + 1; i < len(name); i++ {
		if name[i] == '/' {
			out = append(out, name[:i])
		}
	}
	return out
}

// nested is why two keys or names cannot both be there.
func nested(is, other string) error {
	return projector.Refuse("%s and %s cannot both be there: where one is a level of the other, the services of the AWS sample may load nothing at all; rename one of the keys, or delete the other one and retry", is, other)
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._-/", c) >= 0
}

// base is the beginning of the names of a tenant's parameters; it ends with a slash.
func (l layout) base(t ledger.Tenant) string { return l.before + string(t) + l.after }

// name is a *projector.RefusedError for a key that Parameter Store cannot hold.
func (l layout) name(t ledger.Tenant, key ledger.Key) (string, error) {
	path, ok := strings.CutPrefix(string(key), l.strip)
	if !ok {
		return "", projector.Refuse("%s: the sink holds keys that begin with %s: route it to another one", key, l.strip)
	}
	name := l.base(t) + path
	return name, l.check(name)
}

// check is for a name of valid characters.
func (l layout) check(name string) error {
	levels := strings.Split(name[1:], "/")
	if slices.Contains(levels, "") {
		return projector.Refuse("the parameter would be %s, which has a level without a name: rename the key", name)
	}
	first := strings.ToLower(levels[0])
	for _, reserved := range []string{"aws", "ssm"} {
		if strings.HasPrefix(first, reserved) {
			return projector.Refuse("the parameter would be %s, and AWS keeps names that begin with %q for itself: use another layout", name, reserved)
		}
	}
	if len(levels) > maxLevels {
		return projector.Refuse("the parameter would be %s, of %d levels, and Parameter Store has at most %d: rename the key, or use a shorter layout", name, len(levels), maxLevels)
	}
	if n := l.arn + len(name); n > maxARN {
		return projector.Refuse("the parameter would be %.80s..., whose ARN has %d characters, and AWS allows %d: rename the key, or use a shorter layout", name, n, maxARN)
	}
	for _, p := range l.poison {
		if slices.Contains(levels, p) {
			return projector.Refuse("the parameter would be %s, and the services of the AWS sample load nothing at all where a level is named %s: rename the key", name, p)
		}
	}
	return nil
}

// parse reads a name; ok is false if it is not below a tenant's. The key is empty if
// the name does not belong to one.
func (l layout) parse(name string) (t ledger.Tenant, key ledger.Key, ok bool) {
	for i := range len(name) {
		if !nameByte(name[i]) {
			return "", "", false // it may be a parameter's name with a version
		}
	}
	rest, ok := strings.CutPrefix(name, l.before)
	if !ok {
		return "", "", false
	}
	tenant, _, _ := strings.Cut(rest, "/")
	t, err := ledger.ParseTenant(tenant)
	if err != nil {
		return "", "", false
	}
	path, ok := strings.CutPrefix(name, l.base(t))
	if !ok || path == "" {
		return "", "", false
	}
	key, err = ledger.ParseKey(l.strip + path)
	if err != nil {
		return t, "", true
	}
	if again, err := l.name(t, key); err != nil || again != name {
		return t, "", true
	}
	return t, key, true
}
