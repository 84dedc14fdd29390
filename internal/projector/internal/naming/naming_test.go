package naming

import (
	"testing"
)

// FuzzParse: a name that is read as an item of a key is the name of that key.
func FuzzParse(f *testing.F) {
	f.Add("stele/acme/app/a", "app/")
	f.Add("stele/acme/a", "")
	f.Add("stele/ACME/a", "")
	f.Add("stele/acme/", "")
	f.Fuzz(func(t *testing.T, name, strip string) {
		l, err := New(Settings{Strip: Strip(strip)})
		if err != nil {
			return
		}
		tenant, key, ok := l.Parse(name)
		if !ok || key == "" {
			return
		}
		if got, err := l.Name(tenant, key); err != nil || got != name {
			t.Fatalf("%q is read as %s of %s, whose name is %q: %v", name, key, tenant, got, err)
		}
	})
}

// FuzzPerTenant: an item's name that is read is written as it was.
func FuzzPerTenant(f *testing.F) {
	f.Add("stele-acme:app/a", "stele-{tenant}", "app/")
	f.Add("config/acme.json:a", "config/{tenant}.json", "")
	f.Add("acme:$stele", "{tenant}", "")
	f.Fuzz(func(t *testing.T, item, template, strip string) {
		l, err := NewPerTenant("document", template, Strip(strip))
		if err != nil {
			return
		}
		tenant, member, ok := l.Parse(item)
		if !ok {
			return
		}
		if got := l.Item(tenant, member); got != item {
			t.Fatalf("%q is read as %q of %s, whose name is %q", item, member, tenant, got)
		}
		if key := l.Key(member); key != "" {
			if got, err := l.Member(key); err != nil || got != member {
				t.Fatalf("%q is read as %s, whose member is %q: %v", item, key, got, err)
			}
		}
	})
}
