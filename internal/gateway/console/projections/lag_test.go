package projections

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stelehq/stele/internal/ledger"
	stelev1 "github.com/stelehq/stele/schemas/stele/v1"
)

func TestLags_AreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lags
		behind := func(n uint64) []*stelev1.SinkStatus {
			return []*stelev1.SinkStatus{{Name: "files", LagRevisions: n}}
		}
		for i := range 3 * lagsKept {
			l.add("acme", behind(uint64(i)))
			if again := l.add("acme", behind(1<<40)); again[len(again)-1].sinks["files"] != uint64(i) {
				t.Fatal("two samples of one time")
			}
			time.Sleep(lagEvery)
		}
		all := l.add("acme", behind(7))
		if len(all) != lagsKept || all[0].sinks["files"] != 2*lagsKept+1 || all[lagsKept-1].sinks["files"] != 7 {
			t.Errorf("%d samples from %d to %d", len(all), all[0].sinks["files"], all[len(all)-1].sinks["files"])
		}
		for i := range 2 * lagTenants {
			time.Sleep(lagEvery)
			l.add(ledger.Tenant(fmt.Sprintf("t%d", i)), behind(1))
		}
		if len(l.tenants) != lagTenants {
			t.Errorf("%d tenants are remembered", len(l.tenants))
		}
		if got := l.add("acme", behind(1)); len(got) != 1 {
			t.Errorf("a tenant that was forgotten has %d samples", len(got))
		}
		if got := l.add("empty", nil); got != nil {
			t.Error("a sample of nothing")
		}
	})
}

func TestChart_SinksThatComeAndGo(t *testing.T) {
	samples := []lagSample{{time.UnixMilli(1500), map[string]uint64{"a": 1}}, {time.UnixMilli(3500), map[string]uint64{"b": 2}}}
	var got struct {
		Names  []string
		Times  []float64
		Series [][]*uint64
	}
	if err := json.Unmarshal([]byte(chart(samples, []*stelev1.SinkStatus{{Name: "a"}, {Name: "b"}})), &got); err != nil {
		t.Fatal(err)
	}
	if got.Times[0] != 1.5 || *got.Series[0][0] != 1 || got.Series[0][1] != nil || got.Series[1][0] != nil || *got.Series[1][1] != 2 {
		t.Errorf("the chart is of %+v", got)
	}
}
