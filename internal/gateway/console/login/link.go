package login

import (
	"crypto/rand"
	"crypto/subtle"
	"sync"
)

// Link is a login that works once, for the first user with the code.
type Link struct {
	code string
	mu   sync.Mutex             // guards mint
	mint func() (string, error) // nil when it was used
}

// NewLink makes a link that logs its user in with a token that is minted then, so that
// a session is not longer than it must be.
func NewLink(mint func() (string, error)) *Link { return &Link{code: rand.Text(), mint: mint} }

// Code is the code in the link.
func (l *Link) Code() string { return l.code }

// Use returns a token for the code, the first time; empty for any other code, and
// after that.
func (l *Link) Use(code string) (string, error) {
	if l == nil || subtle.ConstantTimeCompare([]byte(code), []byte(l.code)) != 1 {
		return "", nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mint == nil {
		return "", nil
	}
	token, err := l.mint()
	if err == nil {
		l.mint = nil
	}
	return token, err
}
