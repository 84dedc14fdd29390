package events

import "strings"

// sampleTags are those of the AWS sample, whose keys have them before a "_".
var sampleTags = []string{"tenant_config", "param_config"}

// Tag is a rule's criterion for kinds of keys: the key up to its first "/", or all of a
// key without one. Keys named as in the AWS sample, tenant_config_... and
// param_config_..., have the tags tenant_config and param_config.
func Tag(key string) string {
	for _, tag := range sampleTags {
		if strings.HasPrefix(key, tag+"_") {
			return tag
		}
	}
	tag, _, _ := strings.Cut(key, "/")
	return tag
}
