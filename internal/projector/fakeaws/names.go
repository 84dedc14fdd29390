package fakeaws

import "strings"

const (
	maxLevels      = 15
	maxARN         = 1011 // characters of a parameter's ARN, its name included
	maxDescription = 1024
	maxStandard    = 4096
	maxAdvanced    = 8192
	maxVersions    = 100
)

func arn(name string) string {
	return "arn:aws:ssm:" + Region + ":" + Account + ":parameter/" + strings.TrimPrefix(name, "/")
}

// checkName is for a parameter that is written. The texts are AWS's where known.
func checkName(name string) error {
	if name == "" {
		return invalid("1 validation error detected: Value '' at 'name' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	if len(arn(name)) > maxARN {
		return invalid("Parameter name: the ARN of %.40s... has %d characters, more than %d", name, len(arn(name)), maxARN)
	}
	if strings.Contains(name, "/") && !strings.HasPrefix(name, "/") {
		return invalid("Parameter name must be a fully qualified name.")
	}
	const form = "If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_"
	levels := strings.Split(strings.TrimPrefix(name, "/"), "/")
	for _, level := range levels {
		if level == "" || strings.ContainsFunc(level, func(r rune) bool { return !nameRune(r) }) {
			return invalid("Invalid parameter name. Please use correct syntax for referencing a version/label <name>:<version/label>. %s", form)
		}
	}
	switch first := strings.ToLower(levels[0]); {
	case strings.HasPrefix(first, "aws") && len(levels) > 1:
		return fail("AccessDeniedException", "No access to reserved parameter name: %s.", name)
	case strings.HasPrefix(first, "aws"), strings.HasPrefix(first, "ssm"):
		return invalid(`Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive). %s`, form)
	}
	if len(levels) > maxLevels {
		return fail("HierarchyLevelLimitExceededException", "A hierarchy can have a maximum of %d levels; %s has %d.", maxLevels, name, len(levels))
	}
	return nil
}

func nameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-'
}

// canonical is the one name of a parameter that may be called by two: /a and a are
// the same one, and spaces around a name do not count.
func canonical(name string) string {
	name = strings.Trim(name, " ")
	if !strings.Contains(strings.TrimPrefix(name, "/"), "/") {
		return strings.TrimPrefix(name, "/")
	}
	return name
}
