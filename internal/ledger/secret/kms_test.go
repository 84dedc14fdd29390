package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/ledger/ledgertest"
	"github.com/stelehq/stele/internal/ledger/secret"
)

const keyARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// kmsServer answers Encrypt and Decrypt as AWS KMS does, with one key. Its
// ciphertext is the plaintext with its bits turned, under the context that it came
// with: enough to see that the context and the key are asked for.
type kmsServer struct {
	denied atomic.Bool
	calls  atomic.Int32
	id     string
}

func (s *kmsServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls.Add(1)
	var in struct {
		KeyId                     string
		Plaintext, CiphertextBlob []byte
		EncryptionContext         map[string]string
	}
	fail := func(code string) {
		w.Header().Set("X-Amzn-Errortype", code)
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":%q,"message":"no"}`, code)
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		fail("SerializationException")
		return
	}
	bound := fmt.Appendf(nil, "%v|", in.EncryptionContext)
	turn := func(b []byte) []byte {
		for i := range b {
			b[i] ^= 0xff
		}
		return b
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	switch {
	case s.denied.Load():
		fail("AccessDeniedException")
	case in.KeyId != keyARN:
		fail("NotFoundException")
	case r.Header.Get("X-Amz-Target") == "TrentService.Encrypt":
		json.NewEncoder(w).Encode(map[string]any{"KeyId": s.id, "CiphertextBlob": append(bound, turn(in.Plaintext)...)})
	case !bytes.HasPrefix(in.CiphertextBlob, bound):
		fail("InvalidCiphertextException")
	default:
		json.NewEncoder(w).Encode(map[string]any{"KeyId": s.id, "Plaintext": turn(bytes.TrimPrefix(in.CiphertextBlob, bound))})
	}
}

func openKMS(t *testing.T) (*kmsServer, secret.KEK) {
	t.Helper()
	s := &kmsServer{id: keyARN}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_KMS", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	kek, err := secret.OpenKMS(t.Context(), secret.KMSScheme+keyARN)
	if err != nil {
		t.Fatal(err)
	}
	return s, kek
}

// A tenant's key that AWS KMS encrypts is in memory then, and
// a KMS that says no leaves nothing written.
func TestKMS(t *testing.T) {
	kms, kek := openKMS(t)
	s := ledgertest.Server(t)
	p := start(t, s, kek)
	p.set(t, "acme", "s/a", `"hunter2"`)
	p.set(t, "acme", "s/b", `"hunter3"`)
	if v, err := p.ring.Reveal(t.Context(), "acme", "s/a", p.kept(t, "acme", "s/a")); v != `"hunter2"` || err != nil {
		t.Errorf("revealed is %s, %v", v, err)
	}
	if n := kms.calls.Load(); n != 2 { // with the ledger's own key
		t.Errorf("KMS was called %d times", n)
	}
	q := start(t, s, kek)
	kms.denied.Store(true)
	if _, err := q.commit("acme", "s/a", "1"); !errors.Is(err, ledger.ErrUnavailable) || !strings.Contains(err.Error(), "AccessDeniedException") {
		t.Errorf("a KMS that denies: %v", err)
	}
	kms.denied.Store(false)
	if v, err := q.ring.Reveal(t.Context(), "acme", "s/a", p.kept(t, "acme", "s/a")); v != `"hunter2"` || err != nil {
		t.Errorf("by another process revealed is %s, %v", v, err)
	}
}

func TestKMS_EncryptionContext(t *testing.T) {
	kms, kek := openKMS(t)
	c, err := kek.EncryptWithContext(t.Context(), []byte("key"), []byte("epoch/acme"))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := kek.DecryptWithContext(t.Context(), c, []byte("epoch/acme")); string(p) != "key" || err != nil {
		t.Errorf("decrypted is %q, %v", p, err)
	}
	if _, err := kek.DecryptWithContext(t.Context(), c, []byte("epoch/other")); err == nil || errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("another tenant's: %v", err)
	}
	kms.id = strings.Replace(keyARN, "1234abcd", "ffffffff", 1)
	if _, err := kek.DecryptWithContext(t.Context(), c, []byte("epoch/acme")); err == nil {
		t.Error("another key's plaintext is taken")
	}
	for _, name := range []string{"aws-kms://", "aws-kms://alias/x", "aws-kms://arn:aws:s3:::bucket", "aws-kms://arn:aws:kms:eu-central-1:1:alias/x"} {
		if _, err := secret.OpenKMS(t.Context(), name); err == nil || !strings.Contains(err.Error(), "key/ID") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
