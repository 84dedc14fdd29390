package sinktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stelehq/stele/internal/ledger"
	"github.com/stelehq/stele/internal/projector"
)

func readBack(t *testing.T, s *stand) {
	absent := write(1, "tenantconfig/a", `1`)
	item, ok := s.read(absent)
	if ok {
		t.Fatal("an item is there before anything was written")
	}
	if item.Tenant != acme || item.Key != absent.Key || item.Name != s.name(absent) {
		t.Errorf("the item that is not there is %+v", item)
	}
	if items := s.scan(acme); len(items) != 0 {
		t.Fatalf("an empty place yields %v", items)
	}
	first := []projector.Write{write(1, "tenantconfig/a", `1`), write(1, "tenantconfig/b/c", `"x"`), write(2, "d", `[]`)}
	s.must(first...)
	s.holds(first...)
	next := write(3, "tenantconfig/a", `2`)
	s.must(next)
	s.holds(next, first[1], first[2])
	item, _ = s.read(next)
	if s.store.Same(item, first[0]) {
		t.Error("the newer item is the same as the older write")
	}
	later := next
	later.Revision = 4
	if s.store.Same(item, later) {
		t.Error("the item is the same as a write of a revision that it has not seen")
	}
	if n := len(s.scan(acme)); n != len(first) {
		t.Errorf("the scan yields %d items, not %d", n, len(first))
	}
}

// kinds are values that a store may take for something else.
var kinds = []ledger.Value{
	`null`, `true`, `false`, `0`, `-1`, `250`, `1.5`, `1.0`, `1e3`, `-0`, `1e100`,
	`9007199254740993`, `-9223372036854775809`, `123456789012345678901234567890123456789012345678`, `0.1234567890123456789012345678901234567890123`,
	`""`, `" "`, `"\n"`, `"x"`, `"x\n"`, `" x "`, `"true"`, `"null"`, `"250"`, `"1.0"`, `"{\"a\":1}"`, `"[]"`, `"\"quoted\""`, `"\u0000\u001f"`,
	`"größe 漢字 🎈"`, `"\u00e9\ud83c\udf88"`, `"{{ssm:x}}"`, `"$x ${y} %z"`, `"https://example.com/a"`,
	`[]`, `{}`, `[[]]`, `[1,"1",null,true]`, `{"":1}`, `{"a":{"b":[{"c":"d"},9007199254740993,1.0]}}`, `{"b":1,"a":2}`,
}

func values(t *testing.T, s *stand) {
	var writes []projector.Write
	for i, v := range append(slices.Clone(kinds), ledger.Value(`"`+strings.Repeat("x", 3000)+`"`), ledger.Value(nested(30))) {
		writes = append(writes, write(ledger.Revision(i+1), ledger.Key(fmt.Sprintf("tenantconfig/v%d", i)), v))
	}
	var held []projector.Write
	for i, err := range s.try(writes...) {
		if err == nil {
			held = append(held, writes[i])
			continue
		}
		s.asRefused(err, fmt.Sprintf("%.80q", writes[i].Value))
		if item, ok := s.read(writes[i]); ok && s.store.Same(item, writes[i]) {
			t.Errorf("%.80q was refused, and is there", writes[i].Value)
		}
	}
	if len(held) < len(writes)/2 {
		t.Errorf("the store holds %d of %d values", len(held), len(writes))
	}
	s.holds(held...)
	for _, w := range held {
		item, _ := s.read(w)
		for _, v := range kinds {
			w := w
			if w.Value.Equal(v) {
				continue
			}
			if w.Value = v; s.store.Same(item, w) {
				t.Errorf("%.80q is the same as %.80q", item.Value, v)
			}
		}
	}
}

func nested(deep int) string {
	return strings.Repeat(`[{"a":`, deep) + "1" + strings.Repeat("}]", deep)
}

func again(t *testing.T, s *stand) {
	writes := []projector.Write{write(1, "a", `"x"`), write(2, "b", `{"y":1}`), write(3, "c", "")}
	for range 3 {
		s.must(writes...)
	}
	s.holds(writes...)
}

func deletion(t *testing.T, s *stand) {
	set, kept := write(1, "tenantconfig/a", `"x"`), write(1, "tenantconfig/b", `"y"`)
	s.must(set, kept)
	gone := write(2, set.Key, "")
	never := write(2, "tenantconfig/never", "")
	s.must(gone, never)
	s.holds(gone, never, kept)
	if item, ok := s.read(gone); ok && s.store.Same(item, set) {
		t.Error("what was deleted is the same as what was set before")
	}
	back := write(3, set.Key, set.Value)
	s.must(back)
	s.holds(back, kept)
}

func older(t *testing.T, s *stand) {
	if !s.Conditional {
		t.Skip("the place has no compare-and-set")
	}
	set, gone := write(7, "a", `"new"`), write(7, "b", "")
	s.must(write(6, "b", `"x"`))
	s.must(set, gone)
	s.must(write(5, "a", `"old"`), write(5, "b", `"old"`))
	s.must(write(6, "a", ""))
	s.holds(set, gone)
}

func tenants(t *testing.T, s *stand) {
	var writes []projector.Write
	for i, tenant := range []ledger.Tenant{acme, "acm", "acme1", "acme-1", "acme_1", "a", "0"} {
		for _, k := range []ledger.Key{"acme/x", "x", "1/x"} {
			w := write(1, k, ledger.Value(fmt.Sprint(i)))
			w.Tenant = tenant
			writes = append(writes, w)
		}
	}
	s.must(writes...)
	s.holds(writes...)
	for _, w := range writes {
		if n := len(s.scan(w.Tenant)); n != 3 {
			t.Errorf("the scan of %s yields %d items, not 3", w.Tenant, n)
		}
	}
	gone := writes[0]
	gone.Value, gone.Revision = "", 2
	s.must(gone)
	s.holds(append(writes[1:], gone)...)
}

func refused(t *testing.T, s *stand) {
	if s.Refused.Key == "" {
		t.Skip("the store holds everything")
	}
	bad := write(2, s.Refused.Key, s.Refused.Value)
	fine := []projector.Write{write(1, "tenantconfig/a", `1`), write(3, "tenantconfig/b", `2`)}
	errs := s.try(fine[0], bad, fine[1])
	if errs[0] != nil || errs[2] != nil {
		t.Errorf("the others failed with it: %v", errs)
	}
	s.asRefused(errs[1], string(bad.Key))
	s.holds(fine...)
	for name, item := range s.scan(acme) {
		if item.Key == bad.Key && s.store.Same(item, bad) {
			t.Errorf("%s was refused, and is there", name)
		}
	}
}

// atOnce makes as many calls at once as the store allows.
func atOnce(t *testing.T, s *stand) {
	limits := s.store.Limits()
	var written [][]projector.Write
	for g := range max(limits.Parallel, 1) {
		var own []projector.Write
		for i := range 5 {
			w := write(ledger.Revision(i+1), ledger.Key(fmt.Sprintf("tenantconfig/%d/%d", g, i)), ledger.Value(fmt.Sprintf(`"%d.%d"`, g, i)))
			if limits.Batch == 0 { // one call holds all of a tenant's
				w.Tenant = ledger.Tenant(fmt.Sprintf("acme-%d", g))
			}
			own = append(own, w)
		}
		written = append(written, own)
	}
	var all sync.WaitGroup
	for _, own := range written {
		all.Go(func() {
			for _, w := range own {
				if errs, err := s.store.Write(t.Context(), []projector.Write{w}); err != nil || errs[0] != nil {
					t.Errorf("write %s: %v %v", w.Key, err, errs)
				}
				// As a sweep does meanwhile.
				if err := s.store.Scan(t.Context(), w.Tenant, func(projector.Item) error { return nil }); err != nil {
					t.Errorf("scan %s: %v", w.Tenant, err)
				}
			}
		})
	}
	all.Wait()
	s.holds(slices.Concat(written...)...)
}

func canceled(t *testing.T, s *stand) {
	s.must(write(1, "a", `1`), write(1, "b", `1`))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := write(2, "a", `2`)
	errs, err := s.store.Write(ctx, []projector.Write{w})
	if err == nil && (len(errs) != 1 || errs[0] == nil) {
		t.Error("a write succeeds that was canceled before it began")
	}
	if _, refused := errors.AsType[*projector.RefusedError](errors.Join(append(errs, err)...)); refused {
		t.Error("a canceled write counts as refused")
	}
	if err := s.store.Scan(ctx, acme, func(projector.Item) error { return nil }); err == nil {
		t.Error("a scan succeeds that was canceled before it began")
	}
	s.must(w)
	s.holds(w)
}

func yieldEnds(t *testing.T, s *stand) {
	s.must(write(1, "a", `1`), write(1, "b", `1`))
	enough := errors.New("enough")
	n := 0
	err := s.store.Scan(t.Context(), acme, func(projector.Item) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("the scan ends with %v after %d items", err, n)
	}
}

func reopened(t *testing.T, s *stand) {
	writes := []projector.Write{write(1, "a", `"x"`), write(2, "b/c", `1`)}
	s.must(writes...)
	s.reopen(epoch)
	s.holds(writes...)
	next := write(3, "a", `"y"`)
	s.must(next)
	s.holds(next, writes[1])
}
