package fakeaws

import "strings"

type getSecretIn struct {
	SecretID string `json:"SecretId"`
}

type getSecretOut struct {
	ARN, Name, SecretString string
}

// getSecretValue knows the newest version alone.
func (s *Server) getSecretValue(in getSecretIn) (*getSecretOut, error) {
	prefix := "arn:aws:secretsmanager:" + Region + ":" + Account + ":secret:"
	name := in.SecretID
	if rest, ok := strings.CutPrefix(in.SecretID, prefix); ok && len(rest) > len(secretSuffix) {
		name = rest[:len(rest)-len(secretSuffix)]
	}
	value, ok := s.secrets[name]
	if !ok {
		return nil, fail("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}
	return &getSecretOut{prefix + name + secretSuffix, name, value}, nil
}

// secretSuffix stands for the six random characters at the end of a secret's ARN.
const secretSuffix = "-AbCdEf"

// SetSecret makes a secret of Secrets Manager, or a new version of it.
func (s *Server) SetSecret(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[name] = value
}
