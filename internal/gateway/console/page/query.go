package page

import (
	"net/http"
	"strconv"
	"strings"
)

// Request is a request and its response.
type Request struct {
	W http.ResponseWriter
	R *http.Request
}

// Query is a parameter of the request without white space around it.
func (v *Request) Query(name string) string { return strings.TrimSpace(v.R.FormValue(name)) }

// QueryInt is a parameter that is a number; 0 if it is not.
func (v *Request) QueryInt(name string) int {
	n, _ := strconv.Atoi(v.R.FormValue(name))
	return n
}
