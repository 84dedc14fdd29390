// Package claims reads a token's claims, to show them. It verifies nothing: only the
// gateway does.
package claims

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Claims is a token's second part.
type Claims struct {
	// JSON is all of it, as it is in the token.
	JSON    []byte
	Subject string
	// Tenant is the "tenant" or "custom:tenantId" claim; empty for an operator.
	Tenant string
	// Issuer is the "iss" claim. Client is "client_id" or "aud", if it is a single name: with Amazon
	// Cognito the app client.
	Issuer, Client string
	// Issued and Expires are zero where the token does not say.
	Issued, Expires time.Time
}

// Read decodes the token.
func Read(token string) (Claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Claims{}, fmt.Errorf("the token is not a JWT: it has %d parts, not 3", len(parts))
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Claims{}, fmt.Errorf("the token is not a JWT: %w", err)
	}
	var c struct {
		Subject  string  `json:"sub"`
		Issuer   string  `json:"iss"`
		ClientID string  `json:"client_id"`
		Audience any     `json:"aud"`
		Tenant   string  `json:"tenant"`
		TenantID string  `json:"custom:tenantId"`
		Issued   float64 `json:"iat"`
		Expires  float64 `json:"exp"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return Claims{}, fmt.Errorf("the token is not a JWT: %w", err)
	}
	if c.Tenant == "" {
		c.Tenant = c.TenantID
	}
	if aud, ok := c.Audience.(string); ok && c.ClientID == "" {
		c.ClientID = aud
	}
	return Claims{JSON: data, Issuer: c.Issuer, Client: c.ClientID, Subject: c.Subject, Tenant: c.Tenant, Issued: unix(c.Issued), Expires: unix(c.Expires)}, nil
}

func unix(seconds float64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0)
}
