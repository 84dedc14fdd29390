package gateway

import (
	"maps"
	"slices"
)

// Methods are those that the gateway serves and that need a token.
func (g *Gateway) Methods() []string {
	return slices.DeleteFunc(g.Registered(), func(name string) bool { return rights[name] == public })
}

// Registered are all methods that the gateway serves.
func (g *Gateway) Registered() []string {
	var methods []string
	for service, info := range g.server.GetServiceInfo() {
		for _, m := range info.Methods {
			methods = append(methods, "/"+service+"/"+m.Name)
		}
	}
	slices.Sort(methods)
	return methods
}

// Rights are the methods that somebody may call.
func Rights() []string { return slices.Sorted(maps.Keys(rights)) }
