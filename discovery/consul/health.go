package consul

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

// What surecall's own registrations carry in their meta, and where other frameworks
// put a weight.
const (
	metaIncarnation = "surecall-incarnation"
	metaServerName  = "surecall-server-name"
	metaZone        = "zone" // only without a region: Consul refuses a locality that has none
	metaWeight      = "weight"
)

// health returns the worst of the checks: maintenance, critical, warning, passing. A
// status that Consul does not have counts as critical.
func health(checks []check) (discovery.Health, error) {
	worst := discovery.Passing
	var problem error
	for _, c := range checks {
		h := discovery.Critical
		switch {
		case c.CheckID == api.NodeMaint || strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix):
			h = discovery.Maintenance
		case c.Status == api.HealthPassing:
			h = discovery.Passing
		case c.Status == api.HealthWarning:
			h = discovery.Warning
		case c.Status != api.HealthCritical:
			problem = fmt.Errorf("check %.80q has status %.80q: used as critical", c.CheckID, c.Status)
		}
		worst = max(worst, h)
	}
	return worst, problem
}

// weight returns the weight that applies at health h. A weight in meta, where kratos,
// go-zero and Kitex put it, counts when Consul's own weights are at their default of 1.
// Sanitize makes 1 of a weight of 0, which is one that an answer does not have. The error
// says what was made of a weight in meta that cannot be used as it is.
func weight(s *service, h discovery.Health) (int, error) {
	w := s.Weights.Passing
	if h == discovery.Warning {
		w = s.Weights.Warning
	}
	text, ok := s.Meta[metaWeight]
	if !ok || s.Weights.Passing > 1 || s.Weights.Warning > 1 {
		return w, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n > 0) {
		return w, fmt.Errorf("meta weight %.80q: want a number above 0: ignored", text)
	}
	whole := int(min(max(n, 1), discovery.MaxWeight))
	if float64(whole) != n {
		return whole, fmt.Errorf("meta weight %.80q: used as %d", text, whole)
	}
	return whole, nil
}

// visible returns meta without the keys that became fields of the instance.
func visible(meta map[string]string) map[string]string {
	_, incarnation := meta[metaIncarnation]
	_, server := meta[metaServerName]
	if !incarnation && !server {
		return meta
	}
	rest := make(map[string]string, len(meta))
	for k, v := range meta {
		if k != metaIncarnation && k != metaServerName {
			rest[k] = v
		}
	}
	return rest
}
