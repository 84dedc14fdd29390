package identity

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestEndpoint_URLs(t *testing.T) {
	for raw, good := range map[string]bool{
		"https://id.example.com/jwks": true, "https://10.0.0.1/jwks": true, "https://[::1]:8443/": true,
		"http://localhost:8080/realms/x": true, "http://127.0.0.1/": true, "http://[::1]/": true,
		"http://id.example.com/jwks": false, "http://10.0.0.1/": false, "http://localhost.example.com/": false, "http://127.0.0.1.example.com/": false,
		"file:///etc/passwd": false, "ftp://localhost/": false, "https://": false, "https:/x": false, "https://:8443/": false, "http://:80/": false, "https://user:secret@id.example.com/": false,
		"https://id.example.com/#jwks": false, "http://localhost@id.example.com/": false, "": false, "gopher://localhost": false,
	} {
		if _, err := newEndpoint(KeyringConfig{Location: raw, Issuer: "stele"}); (err == nil) != good {
			t.Errorf("%q: %v", raw, err)
		} else if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

func TestEndpoint_Addresses(t *testing.T) {
	const id = "https://id.example.com/jwks"
	for _, tt := range []struct {
		location string
		private  bool
		host, ip string
		good     bool
	}{
		{id, false, "id.example.com", "93.184.216.34", true},
		{id, false, "id.example.com", "2606:2800:220:1::1", true},
		{id, false, "id.example.com", "64:ff9b::5db8:d822", true},
		{id, false, "id.example.com", "127.0.0.1", false},
		{id, true, "id.example.com", "127.0.0.1", false},
		{id, true, "", "127.0.0.1", false},
		{id, true, "id.example.com", "::1", false},
		{id, true, "id.example.com", "::ffff:127.0.0.1", false},
		{id, true, "id.example.com", "64:ff9b::7f00:1", false},
		{id, true, "id.example.com", "169.254.169.254", false},
		{id, true, "id.example.com", "fe80::1%eth0", false},
		{id, true, "id.example.com", "0.0.0.0", false},
		{id, true, "id.example.com", "::", false},
		{id, true, "id.example.com", "224.0.0.1", false},
		{id, true, "id.example.com", "255.255.255.255", false},
		{id, false, "id.example.com", "10.1.2.3", false},
		{id, false, "id.example.com", "::ffff:10.1.2.3", false},
		{id, false, "id.example.com", "64:ff9b::a01:203", false},
		{id, false, "id.example.com", "172.16.0.1", false},
		{id, false, "id.example.com", "192.168.1.1", false},
		{id, false, "id.example.com", "100.64.0.1", false},
		{id, false, "id.example.com", "fd00::1", false},
		{id, true, "id.example.com", "10.1.2.3", true},
		{id, true, "id.example.com", "fd00::1", true},
		{"https://10.1.2.3/", false, "10.1.2.3", "10.1.2.3", true},
		{"https://127.0.0.1/", false, "127.0.0.1", "127.0.0.1", true},
		{"https://10.1.2.3/", false, "10.1.2.4", "10.1.2.4", false},
		{"http://localhost/", false, "localhost", "127.0.0.1", true},
		{"http://localhost/", false, "localhost", "::1", true},
		{"http://localhost/", false, "localhost", "10.1.2.3", false},
		{"http://localhost/", false, "localhost", "93.184.216.34", false},
	} {
		e, err := newEndpoint(KeyringConfig{Location: tt.location, Private: tt.private})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.allow(tt.host, netip.MustParseAddr(tt.ip)); (err == nil) != tt.good {
			t.Errorf("with %s, private %v: %s as %s: %v", tt.location, tt.private, tt.host, tt.ip, err)
		}
	}
}

// nameServer answers every question with the address.
func nameServer(t *testing.T, ip [4]byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) == 0 {
				continue
			}
			m.Response = true
			m.Additionals = nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: ip}}}
			}
			if answer, err := m.Pack(); err == nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// TestEndpoint_DNSRebinding is DNS rebinding: what the name
// stands for is looked at when the connection is made, not before.
func TestEndpoint_DNSRebinding(t *testing.T) {
	is := newIssuer(t)
	asked := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		fmt.Fprint(w, set(is.ed.jwk(t)))
	}))
	defer server.Close()
	port := server.URL[strings.LastIndex(server.URL, ":"):]
	for location, good := range map[string]bool{"https://example.com" + port: false, server.URL: true} {
		e, err := newEndpoint(KeyringConfig{Location: location, Private: true})
		if err != nil {
			t.Fatal(err)
		}
		trust(e, server)
		e.dialer.Resolver = nameServer(t, [4]byte{127, 0, 0, 1})
		asked = 0
		_, err = e.load(t.Context())
		if (err == nil) != good || (asked > 0) != good {
			t.Errorf("%s: %v, asked %d times", location, err, asked)
		}
		if !good && !strings.Contains(fmt.Sprint(err), "example.com stands for 127.0.0.1") {
			t.Errorf("%s: %v", location, err)
		}
	}
}

func trust(e *endpoint, server *httptest.Server) {
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	e.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
}

func TestDiscovery(t *testing.T) {
	is := newIssuer(t)
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	defer server.Close()
	issuer := server.URL + "/realms/shop"
	keys := server.URL + "/realms/shop/keys"
	mux.HandleFunc("/realms/shop/keys", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, set(is.rsa.jwk(t))) })
	doc := ""
	mux.HandleFunc("/realms/shop/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, doc) })
	for _, tt := range []struct{ name, issuer, doc, wrong string }{
		{"as it should be", issuer, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"claims_supported":[]}`, issuer, keys), ""},
		{"an issuer with a slash", issuer + "/", fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer+"/", keys), ""},
		{"of another issuer", issuer, fmt.Sprintf(`{"issuer":"https://evil.example","jwks_uri":%q}`, keys), `is of issuer "https://evil.example"`},
		{"a slash more", issuer, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer+"/", keys), "write the issuer exactly so"},
		{"no issuer", issuer, fmt.Sprintf(`{"jwks_uri":%q}`, keys), `is of issuer ""`},
		{"issuer twice", issuer, fmt.Sprintf(`{"issuer":"https://evil.example","issuer":%q,"jwks_uri":%q}`, issuer, keys), "duplicate"},
		{"no keys", issuer, fmt.Sprintf(`{"issuer":%q}`, issuer), "jwks_uri"},
		{"keys by http", issuer, fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://id.example.com/keys"}`, issuer), "https"},
		{"keys in a file", issuer, fmt.Sprintf(`{"issuer":%q,"jwks_uri":"file:///etc/passwd"}`, issuer), "https"},
		{"keys at an address of the network", issuer, fmt.Sprintf(`{"issuer":%q,"jwks_uri":"https://10.0.0.1/keys"}`, issuer), "not the issuer's own address"},
		{"keys at the cloud's metadata", issuer, fmt.Sprintf(`{"issuer":%q,"jwks_uri":"https://169.254.169.254/keys"}`, issuer), "not the issuer's own address"},
		{"keys on this machine by another name", issuer, fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://localhost/keys"}`, issuer), "not the issuer's own address"},
		{"keys on this machine by no name", issuer, fmt.Sprintf(`{"issuer":%q,"jwks_uri":"https://:8443/keys"}`, issuer), "write https://HOST"},
		{"no document", server.URL, "", "404"},
		{"an issuer that is no URL", "stele-local", "", "https"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc = tt.doc
			e, err := newEndpoint(KeyringConfig{Issuer: tt.issuer})
			if err == nil {
				trust(e, server)
				_, err = e.load(t.Context())
			}
			if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%v, want %q", err, tt.wrong)
			}
		})
	}
}
