// Package status is what a client can show of itself: one document, [Status], and the
// table of [Metrics] that is read from it. The status page, its JSON and its Prometheus
// text, OpenTelemetry's metrics and the dashboards all say what is here, in these words.
//
// A Status is a copy of one moment. Counters begin at 0 with the client. Times in the JSON
// are seconds as a number, moments are RFC 3339.
package status
