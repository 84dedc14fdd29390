package dynamodb

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/strictjson"
	"github.com/stelehq/stele/internal/projector"
)

// layout is the format of a table's items. In the settings it is a preset's name, or an
// object whose members override the preset's.
type layout struct {
	Preset string `json:"preset"`
	// Prefix is the beginning of every key of the sink; {path} is the rest.
	Prefix string `json:"prefix"`
	// Partition and Sort are the names of the table's keys, and the templates of their
	// values, with {tenant} and {path}.
	Partition      string `json:"partition"`
	PartitionValue string `json:"partition_value"`
	Sort           string `json:"sort"`
	SortValue      string `json:"sort_value"`
	// The rest are names of attributes.
	Value    string `json:"value"`
	JSON     string `json:"json"`
	Revision string `json:"revision"`
	Commit   string `json:"commit"`
	Author   string `json:"author"`
	Time     string `json:"time"`
	Epoch    string `json:"epoch"`
	Deleted  string `json:"deleted"`
	Expires  string `json:"expires"`
}

const (
	presetStele = "stele"
	// presetSample is what AWS's sample-config-management-service reads: Value holds
	// a list of maps, Time counts milliseconds, as its library dynamoose does, and
	// Deleted says the opposite.
	presetSample = "aws-sample"
)

var presets = map[string]layout{
	presetStele: {
		Preset: presetStele, Partition: "tenant", PartitionValue: "{tenant}", Sort: "key", SortValue: "{path}",
		Value: "value", JSON: "json", Revision: "revision", Commit: "commit", Author: "author", Time: "time",
		Epoch: "epoch", Deleted: "deleted", Expires: "expires",
	},
	presetSample: {
		Preset: presetSample, Prefix: "tenant_config_",
		Partition: "pk", PartitionValue: "TENANT#{tenant}", Sort: "sk", SortValue: "CONFIG#{path}",
		Value: "config", JSON: "json", Revision: "version", Commit: "commit", Author: "author", Time: "updatedAt",
		Epoch: "epoch", Deleted: "isActive", Expires: "ttl",
	},
}

// UnmarshalJSON reads a preset's name or an object.
func (l *layout) UnmarshalJSON(text []byte) error {
	var preset struct {
		Name string         `json:"preset"`
		Rest jsontext.Value `json:",embed"`
	}
	if jsontext.Value(text).Kind() == '"' {
		if err := json.Unmarshal(text, &preset.Name); err != nil {
			return err
		}
		text = []byte("{}")
	} else if err := json.Unmarshal(text, &preset); err != nil {
		return err
	}
	if preset.Name == "" {
		preset.Name = presetStele
	}
	var known bool
	if *l, known = presets[preset.Name]; !known {
		return fmt.Errorf("layout: unknown preset %q: use one of %v", preset.Name, slices.Sorted(maps.Keys(presets)))
	}
	type plain layout // without this method
	if err := strictjson.Unmarshal(text, (*plain)(l), "it must be a preset's name or an object"); err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	return l.check()
}

// maxSortText is the longest sort_value, in bytes: with the longest key it stays
// below DynamoDB's 1,024.
const maxSortText = 512

func (l *layout) check() error {
	if _, err := ledger.ParsePrefix(l.Prefix); err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	if strings.Count(l.PartitionValue, "{tenant}") != 1 || strings.Contains(l.PartitionValue, "/") {
		return fmt.Errorf("layout: partition_value is %q: it holds {tenant} once, and no \"/\"", l.PartitionValue)
	}
	if strings.Count(l.SortValue, "{path}") != 1 || len(l.SortValue) > maxSortText {
		return fmt.Errorf("layout: sort_value is %q: it holds {path} once, and has at most %d bytes", l.SortValue, maxSortText)
	}
	seen := make(map[string]bool)
	for _, name := range append(l.attributes(), l.Partition, l.Sort) {
		if name == "" || len(name) > 255 || seen[name] {
			return fmt.Errorf("layout: an attribute is named %q: each needs a name of its own, of at most 255 bytes", name)
		}
		seen[name] = true
	}
	return nil
}

// attributes are the names of all attributes that an item may have in addition to its
// keys.
func (l *layout) attributes() []string {
	return []string{l.Value, l.JSON, l.Revision, l.Commit, l.Author, l.Time, l.Epoch, l.Deleted, l.Expires}
}

func (l *layout) sample() bool { return l.Preset == presetSample }

// primaryKey identifies an item: the values of the table's two keys.
type primaryKey struct{ partition, sort string }

func (l *layout) partition(t ledger.Tenant) string {
	return strings.Replace(l.PartitionValue, "{tenant}", string(t), 1)
}

// primaryKey returns the primary key of a ledger key's item. The error is a *projector.RefusedError.
func (l *layout) primaryKey(t ledger.Tenant, k ledger.Key) (primaryKey, error) {
	path, ok := strings.CutPrefix(string(k), l.Prefix)
	if !ok || path == "" {
		return primaryKey{}, projector.Refuse("the key does not begin with %q, followed by a path, as the layout's prefix requires; change the prefix, or route the key to another sink", l.Prefix)
	}
	return primaryKey{l.partition(t), strings.Replace(l.SortValue, "{path}", path, 1)}, nil
}

// tenant is whose item has the primary key.
func (l *layout) tenant(p primaryKey) (ledger.Tenant, bool) {
	name, ok := between(p.partition, l.PartitionValue, "{tenant}")
	t, err := ledger.ParseTenant(name)
	return t, ok && err == nil
}

// key is the key of the item with the primary key; empty if it has none.
func (l *layout) key(p primaryKey) ledger.Key {
	path, ok := between(p.sort, l.SortValue, "{path}")
	if !ok || path == "" {
		return ""
	}
	k, err := ledger.ParseKey(l.Prefix + path)
	if err != nil {
		return ""
	}
	return k
}

// sortPrefix is the beginning of the sort keys of all items.
func (l *layout) sortPrefix() string {
	before, _, _ := strings.Cut(l.SortValue, "{path}")
	return before
}

// between finds the value of the variable.
func between(s, template, variable string) (string, bool) {
	before, after, _ := strings.Cut(template, variable)
	s, begins := strings.CutPrefix(s, before)
	s, ends := strings.CutSuffix(s, after)
	return s, begins && ends
}
