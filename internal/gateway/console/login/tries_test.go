package login

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestTries_ArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries Tries
		from := func(address string) (allowed int) {
			r := httptest.NewRequest(http.MethodPost, "/login", nil)
			r.RemoteAddr = address
			for tries.Allow(r) {
				allowed++
			}
			return allowed
		}
		if n := from("192.0.2.1:4000"); n != triesAtOnce {
			t.Errorf("%d at once, not %d", n, triesAtOnce)
		}
		if n := from("192.0.2.1:4001"); n != 0 {
			t.Errorf("%d more from another port", n)
		}
		if n := from("192.0.2.2:4000"); n != triesAtOnce {
			t.Errorf("another address has %d", n)
		}
		from("[2001:db8::1]:4000")
		if n := from("[2001:db8::ffff]:4000"); n != 0 {
			t.Errorf("%d more from an address of the same network", n)
		}
		time.Sleep(10 * tryEvery)
		if n := from("192.0.2.1:4000"); n != 10 {
			t.Errorf("%d after the time of 10", n)
		}
	})
}

func TestTries_ManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries Tries
		r := httptest.NewRequest(http.MethodPost, "/login", nil)
		allowed := 0
		for i := range 3 * maxAddresses {
			r.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255)
			if tries.Allow(r) {
				allowed++
			}
		}
		if n := len(tries.addresses); n > maxAddresses+1 {
			t.Errorf("%d addresses are remembered", n)
		}
		if allowed != maxAddresses+triesAtOnce {
			t.Errorf("%d were allowed, not one of each address that is remembered, and %d", allowed, triesAtOnce)
		}
		time.Sleep(2 * time.Minute)
		r.RemoteAddr = "192.0.2.1:1"
		if !tries.Allow(r) || len(tries.addresses) != 1 {
			t.Errorf("later, %d addresses are remembered", len(tries.addresses))
		}
	})
}
