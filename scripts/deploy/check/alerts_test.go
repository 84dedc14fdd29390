package check_test

import (
	"regexp"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// Prometheus accepts the rules, and each selects a metric of Stele's or "up".
func TestAlerts_PrometheusAcceptsThem(t *testing.T) {
	groups, errs := rulefmt.ParseFile("../prometheus/alerts.yaml", false, model.LegacyValidation)
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		return
	}
	metric := regexp.MustCompile(`^(up|stele_[a-z_]+)$`)
	rules := 0
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			rules++
			expr, err := parser.ParseExpr(rule.Expr)
			if err != nil {
				t.Errorf("%s: %v", rule.Alert, err)
				continue
			}
			selected := 0
			parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
				if s, ok := n.(*parser.VectorSelector); ok {
					selected++
					if !metric.MatchString(s.Name) {
						t.Errorf("%s selects %s", rule.Alert, s)
					}
				}
				return nil
			})
			if selected == 0 {
				t.Errorf("%s selects no metric", rule.Alert)
			}
		}
	}
	if rules < 20 {
		t.Errorf("there are %d alerts", rules)
	}
}
