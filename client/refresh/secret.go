package refresh

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
)

// minSecret is the shortest secret, in bytes: a shorter one can be guessed.
const minSecret = 16

// checkSecrets keeps a variable that was not set from opening a service to anyone.
func checkSecrets(secrets []string) error {
	if len(secrets) == 0 {
		return errors.New("give the secret that callers must know")
	}
	for _, s := range secrets {
		if len(s) < minSecret {
			return fmt.Errorf("a secret has %d bytes, less than %d", len(s), minSecret)
		}
	}
	return nil
}

// known takes the same time for every token that is not.
func known(token string, secrets []string) bool {
	got, found := sha256.Sum256([]byte(token)), 0
	for _, s := range secrets {
		want := sha256.Sum256([]byte(s))
		found |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return found == 1
}
