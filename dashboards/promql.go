package main

import "strings"

// What queries choose by: the variables of the dashboard.
const (
	ofService = `job=~"$job",surecall_service=~"$service"`
	ofMethod  = ofService + `,rpc_method=~"$method"`
)

// failing are the status codes with which something was wrong with the service, and not
// with what was asked of it. Calls that surecall rejects are among them.
const failing = `rpc_response_status_code=~"UNKNOWN|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS"`

var fine = strings.Replace(failing, "=~", "!~", 1)

// metric returns the selector of a metric, "calls_total", that the variables choose, and
// what more is said.
func metric(name, of string, more ...string) string {
	return "surecall_client_" + name + "{" + strings.Join(append([]string{of}, more...), ",") + "}"
}

// rate returns how often a second a counter went up, added up by labels.
func rate(by, name, of string, more ...string) string {
	return over("sum", by, "rate("+metric(name, of, more...)+"[$__rate_interval])")
}

// over returns an aggregate by labels.
func over(how, by, expr string) string {
	return how + " by (" + by + ") (" + expr + ")"
}

// orNone is expr, and 0 for what base has and expr has not: a counter with a reason is not
// there before its reason was.
func orNone(expr, base string) string {
	return "(" + expr + " or 0 * " + base + ")"
}
