package page

import (
	"strconv"
	"strings"
)

// Query is a parameter of the request without white space around it.
func (v *View) Query(name string) string { return strings.TrimSpace(v.R.FormValue(name)) }

// QueryInt is a parameter that is a number; 0 if it is not.
func (v *View) QueryInt(name string) int {
	n, _ := strconv.Atoi(v.R.FormValue(name))
	return n
}
