package session

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stelehq/stele/cmd/stele/internal/contexts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ContextHint names the context that a command has used, if the gateway cannot be reached
// or does not accept the token: the right gateway may be in another context, which
// "stele up" writes without selecting it. Empty if no context was used, if flags or the
// environment replace its address, or if err has another reason.
func (c *Flags) ContextHint(err error) string {
	switch status.Code(err) {
	case codes.Unavailable, codes.Unauthenticated:
	default:
		return ""
	}
	settings, err := contexts.Resolve(c.Choice)
	if err != nil || settings.Context == "" {
		return ""
	}
	file, err := contexts.Load(settings.Path)
	if err != nil {
		return ""
	}
	// Another context does not help if its address is not used.
	if settings.Address != file.Contexts[settings.Context].Address {
		return ""
	}
	hint := fmt.Sprintf("the context in use is %s in %s, with the gateway %s", settings.Context, settings.Path, settings.Address)
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(file.Contexts)), func(name string) bool { return name == settings.Context })
	if len(others) == 0 {
		return hint
	}
	return fmt.Sprintf("%s; there is also %s: use --context %s, or stele context use %[3]s", hint, strings.Join(others, ", "), others[0])
}
