package policy

// Need is the permission that a method needs of its caller.
type Need int

const (
	Public Need = iota + 1 // no token: the answer contains nothing of any tenant
	Read                   // that operation on some key; Method.Limits says on which
	Write
	Audit

	// From here on, operators need no tenant.

	OperatorRead  // read
	OperatorAdmin // administer
	OperatorOnly  // the role operator: the answer concerns all tenants, or none
	Replicate     // replicate, for each tenant that the request names
	Authenticated // any verified token: the answer concerns the process and the caller
)

// Operation that the need asks for on keys. OperatorOnly and Authenticated ask for
// something else.
func (n Need) Operation() Operation {
	switch n {
	case Read, OperatorRead:
		return ToRead
	case Write:
		return ToWrite
	case Audit:
		return ToAudit
	}
	return ToAdminister
}

func (n Need) String() string {
	switch n {
	case Public:
		return "no token"
	case Read:
		return "read"
	case Write:
		return "write"
	case Audit:
		return "audit"
	case OperatorRead:
		return "read; an operator needs no tenant"
	case OperatorAdmin:
		return "administer; an operator needs no tenant"
	case OperatorOnly:
		return "the role operator"
	case Replicate:
		return "replicate"
	case Authenticated:
		return "any token"
	}
	return "unknown"
}
