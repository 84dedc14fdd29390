package login

import (
	"crypto/rand"
	"crypto/subtle"
	"sync"
)

// Link is a login that works once, for the first user with the code.
type Link struct {
	code  string
	mu    sync.Mutex // guards token
	token string     // empty when it was used
}

// NewLink makes a link that logs the holder of the token in.
func NewLink(token string) *Link { return &Link{code: rand.Text(), token: token} }

// Code is the code in the link.
func (l *Link) Code() string { return l.code }

// Use returns the token for the code, the first time; empty for any other code, and
// after that.
func (l *Link) Use(code string) string {
	if l == nil || subtle.ConstantTimeCompare([]byte(code), []byte(l.code)) != 1 {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	token := l.token
	l.token = ""
	return token
}
