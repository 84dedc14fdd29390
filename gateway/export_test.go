package gateway

// Methods are those that the gateway serves and that need a token.
func (g *Gateway) Methods() []string {
	var methods []string
	for service, info := range g.server.GetServiceInfo() {
		for _, m := range info.Methods {
			if name := "/" + service + "/" + m.Name; rights[name] != public {
				methods = append(methods, name)
			}
		}
	}
	return methods
}
