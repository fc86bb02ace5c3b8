package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// height is how high every panel is, of units of 30 pixels.
const height = 8

// obj is an object of Grafana's JSON.
type obj map[string]any

// datasource is the one that is chosen at the head of the dashboard.
func datasource() obj { return obj{"type": "prometheus", "uid": "${datasource}"} }

// render returns the dashboard as Grafana imports it.
func render(rows []row) ([]byte, error) {
	dashboard := obj{
		"uid":           "surecall",
		"title":         "surecall: calls made sure",
		"description":   "What clients of surecall see and decide. Each panel's description says what to do about it. Made by go run . in dashboards/.",
		"tags":          []string{"grpc", "surecall"},
		"schemaVersion": 41,
		"editable":      true,
		"graphTooltip":  1, // the same moment in all panels
		"refresh":       "30s",
		"time":          obj{"from": "now-1h", "to": "now"},
		"timezone":      "browser",
		"templating":    obj{"list": variables()},
		"annotations":   obj{"list": annotations()},
		"links": []obj{{
			"type": "link", "title": "What to do, by symptom", "icon": "doc", "targetBlank": true,
			"url": "https://github.com/surecall/surecall/blob/main/docs/troubleshooting.md",
		}},
		"panels": layout(rows),
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(dashboard)
	return text.Bytes(), err
}

// variables are what is chosen at the head.
func variables() []obj {
	choice := func(name, label, query, describe string) obj {
		return obj{
			"name": name, "label": label, "description": describe, "type": "query", "datasource": datasource(),
			"query": obj{"query": query, "refId": "Variable"}, "definition": query,
			"includeAll": true, "multi": true, "allValue": ".*", "current": obj{"text": "All", "value": "$__all"},
			"refresh": 2, "sort": 1, // anew with each range of time; by name
		}
	}
	return []obj{
		{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": obj{}},
		choice("job", "Caller", "label_values(surecall_client_source_trusted, job)", "Programs that call: Prometheus' label job."),
		choice("service", "Service", `label_values(surecall_client_source_trusted{job=~"$job"}, surecall_service)`, "Services that are called."),
		choice("method", "Method", `label_values(surecall_client_attempts_total{`+ofService+`}, rpc_method)`, "Methods of them."),
	}
}

// annotations mark moments in all panels.
func annotations() []obj {
	mark := func(name, color, expr, title, text string) obj {
		return obj{
			"name": name, "iconColor": color, "enable": true, "datasource": datasource(), "expr": expr,
			"titleFormat": title, "textFormat": text, "step": "", "useValueForTime": false,
		}
	}
	went := func(states string) string {
		return over("sum", "surecall_service, surecall_of, surecall_state",
			"increase("+metric("transitions_total", ofService, `surecall_state=~"`+states+`"`)+"[$__rate_interval])") + " > 0"
	}
	return []obj{
		mark("Instances and breakers that failed", "red", went("ejected|failed|suspect|open"), "{{surecall_service}}", "{{surecall_of}} {{surecall_state}}"),
		mark("Instances that left", "blue", went("draining|not serving"), "{{surecall_service}}", "{{surecall_of}} {{surecall_state}}"),
		mark("Policy refused", "purple", over("max", "surecall_service, surecall_layer", metric("policy_refused", ofService))+" > 0", "{{surecall_service}}", "document of the {{surecall_layer}} refused"),
	}
}

// layout puts the rows one under the other.
func layout(rows []row) (panels []obj) {
	id, y := 0, 0
	next := func() int { id++; return id }
	for _, r := range rows {
		head := obj{"id": next(), "type": "row", "title": r.title, "collapsed": r.closed, "gridPos": obj{"x": 0, "y": y, "w": 24, "h": 1}, "panels": []obj{}}
		panels = append(panels, head)
		y++
		x := 0
		var under []obj
		for _, p := range r.panels {
			if p.width == 0 {
				p.width = 8
			}
			if x+p.width > 24 {
				x, y = 0, y+height
			}
			under = append(under, p.render(next(), x, y))
			x += p.width
		}
		y += height
		if r.closed {
			head["panels"] = under // as Grafana keeps those of a closed row
		} else {
			panels = append(panels, under...)
		}
	}
	return panels
}

func (p *panel) render(id, x, y int) obj {
	kind := p.kind
	if kind == "" {
		kind = "timeseries"
	}
	o := obj{
		"id": id, "type": kind, "title": p.title, "description": p.describe, "datasource": datasource(),
		"gridPos": obj{"x": x, "y": y, "w": p.width, "h": height},
		"targets": p.targets(kind == "table"),
	}
	defaults := obj{"unit": p.unit, "color": obj{"mode": "palette-classic"}}
	if p.share {
		defaults["min"], defaults["max"] = 0, 1
	} else {
		defaults["min"] = 0
	}
	switch kind {
	case "stat":
		defaults["color"] = obj{"mode": "thresholds"}
		defaults["thresholds"] = obj{"mode": "absolute", "steps": []obj{{"color": "red", "value": nil}, {"color": "orange", "value": 0.99}, {"color": "green", "value": 0.999}}}
		defaults["decimals"] = 2
		o["options"] = obj{"colorMode": "value", "graphMode": "area", "reduceOptions": obj{"calcs": []string{"lastNotNull"}, "values": false}}
	case "table":
		o["transformations"] = []obj{{"id": "organize", "options": obj{"excludeByName": obj{"Time": true}, "renameByName": obj{"Value": "a second"}}}}
		o["options"] = obj{"showHeader": true}
	default:
		custom := obj{"drawStyle": "line", "lineWidth": 1, "fillOpacity": 5, "showPoints": "never", "stacking": obj{"mode": "none"}}
		if p.stack {
			custom["stacking"], custom["fillOpacity"] = obj{"mode": "normal", "group": "A"}, 50
		}
		defaults["custom"] = custom
		o["options"] = obj{
			"legend":  obj{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
			"tooltip": obj{"mode": "multi", "sort": "desc"},
		}
	}
	o["fieldConfig"] = obj{"defaults": defaults, "overrides": p.overrides()}
	return o
}

func (p *panel) targets(now bool) (targets []obj) {
	for i, q := range p.queries {
		t := obj{
			"refId": string(rune('A' + i)), "datasource": datasource(), "expr": q.expr, "editorMode": "code",
			"legendFormat": q.legend, "range": !now, "instant": now,
		}
		if p.kind == "table" {
			t["format"] = "table"
		}
		targets = append(targets, t)
	}
	return targets
}

// overrides are the colours that mean something, and what is on the right axis.
func (p *panel) overrides() []obj {
	overrides := []obj{}
	for _, name := range slices.Sorted(maps.Keys(p.colors)) {
		overrides = append(overrides, obj{
			"matcher":    obj{"id": "byName", "options": name},
			"properties": []obj{{"id": "color", "value": obj{"mode": "fixed", "fixedColor": p.colors[name]}}},
		})
	}
	if p.right != "" {
		last := string(rune('A' + len(p.queries) - 1))
		overrides = append(overrides, obj{
			"matcher":    obj{"id": "byFrameRefID", "options": last},
			"properties": []obj{{"id": "custom.axisPlacement", "value": "right"}, {"id": "unit", "value": p.right}},
		})
	}
	return overrides
}
