package ledger_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stelehq/stele/internal/ledger"
)

func TestKeys(t *testing.T) {
	for _, tc := range []struct {
		name, key string
		ok        bool
	}{
		{"one segment", "a", true},
		{"a path", "tenantconfig/checkout/timeout_ms", true},
		{"every kind of byte", "AZaz09._-/x", true},
		{"dots in a segment", "a/..b/c..", true},
		{"the longest", strings.Repeat("k", ledger.MaxKey), true},
		{"too long", strings.Repeat("k", ledger.MaxKey+1), false},
		{"empty", "", false},
		{"only a slash", "/", false},
		{"a slash at the start", "/a", false},
		{"a slash at the end", "a/", false},
		{"an empty segment", "a//b", false},
		{"a dot", ".", false},
		{"a dot segment", "a/./b", false},
		{"two dots", "a/..", false},
		{"a space", "a b", false},
		{"a subject's wildcard", "a/*", false},
		{"a zero byte", "a\x00", false},
		{"a line end", "a\n", false},
		{"a letter that is not ASCII", "ä", false},
		{"invalid UTF-8", "a\xff", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if key, err := ledger.ParseKey(tc.key); (err == nil) != tc.ok || tc.ok && string(key) != tc.key {
				t.Errorf("ParseKey(%q) = %q, %v", tc.key, key, err)
			}
		})
	}
}

func TestTenants(t *testing.T) {
	for _, tc := range []struct {
		name, tenant string
		ok, reserved bool
	}{
		{"letters and digits", "acme2", true, false},
		{"a digit first", "2acme", true, false},
		{"dash and underscore", "a-b_c-", true, false},
		{"the ledger's own", "_system", true, true},
		{"the longest", strings.Repeat("t", 63), true, false},
		{"too long", strings.Repeat("t", 64), false, false},
		{"empty", "", false, false},
		{"a dash first", "-a", false, false},
		{"a capital", "Acme", false, false},
		{"a dot, which would split a subject", "a.b", false, false},
		{"a wildcard", "*", false, false},
		{"a wildcard of many", ">", false, false},
		{"a space", "a b", false, false},
		{"a zero byte", "a\x00", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tenant, err := ledger.ParseTenant(tc.tenant)
			if (err == nil) != tc.ok || tenant.Reserved() != tc.reserved {
				t.Errorf("ParseTenant(%q) = %q, %v", tc.tenant, tenant, err)
			}
		})
	}
}

func TestParseKey_ErrorDoesNotRepeatHostileNames(t *testing.T) {
	_, err := ledger.ParseKey(strings.Repeat("x", 500) + "*")
	if err == nil || len(err.Error()) > 250 {
		t.Errorf("%v", err)
	}
}

func TestParseKey_ErrorNamesTheCharacterAndItsPosition(t *testing.T) {
	for key, want := range map[string]string{
		"m/ü":          `key "m/ü" has "ü" at character 3`,
		"üb/er":        `key "üb/er" has "ü" at character 1`,
		"a/日本":         `has "日" at character 3`,
		"a b":          `has " " at character 2`,
		"a\xff":        `has "\xff" at character 2`,
		"a/\u202eb":    `has "\u202e" at character 3`,
		"m/a//b":       `has the segment "" at character 5`,
		"config/../ab": `has the segment ".." at character 8`,
	} {
		if _, err := ledger.ParseKey(key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseKey(%q): %v; want %s", key, err, want)
		}
	}
	if _, err := ledger.ParsePrefix("m/ü"); err == nil || !strings.Contains(err.Error(), `has "ü" at character 3`) {
		t.Errorf("ParsePrefix: %v", err)
	}
	if _, err := ledger.ParseTenant("akmé"); err == nil || !strings.Contains(err.Error(), `has "é" at character 4`) {
		t.Errorf("ParseTenant: %v", err)
	}
	if _, err := ledger.ParseKey(strings.Repeat("ü", 50)); err == nil || !utf8.ValidString(err.Error()) {
		t.Errorf("a long name is cut inside a character: %v", err)
	}
}

// The grammar as the design has it, in another notation than the parser's.
var keyBytes = regexp.MustCompile(`\A[A-Za-z0-9._/-]{1,512}\z`)

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{"a", "a/b", "a//b", "..", "a/.", "a/../b", "", "/", "ä", "a\x00b", strings.Repeat("k", 513)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, err := ledger.ParseKey(s)
		wrong := slices.ContainsFunc(strings.Split(s, "/"), func(segment string) bool {
			return segment == "" || segment == "." || segment == ".."
		})
		if want := keyBytes.MatchString(s) && !wrong; (err == nil) != want {
			t.Fatalf("ParseKey(%q): %v", s, err)
		}
		if err == nil && string(key) != s {
			t.Fatalf("ParseKey(%q) = %q", s, key)
		}
		if prefix, perr := ledger.ParsePrefix(s); err == nil && (perr != nil || !prefix.Match(key)) {
			t.Fatalf("%q is a key and no prefix of itself: %v", s, perr)
		}
	})
}
