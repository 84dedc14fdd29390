package gateway

// Needs says what a method needs of its caller, in words; empty for a method that is
// not served.
func Needs(method string) string {
	switch rights[method] {
	case public:
		return "no token"
	case read:
		return "read"
	case write:
		return "write"
	case audit:
		return "audit"
	case see:
		return "read; an operator, no tenant"
	case decide:
		return "administer; an operator, no tenant"
	case operate:
		return "the role operator"
	case anyone:
		return "any token"
	}
	return ""
}
