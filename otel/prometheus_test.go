package surecallotel_test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	surecallotel "github.com/surecall/surecall/otel"
	"github.com/surecall/surecall/status"
)

// What a Prometheus scrapes from OpenTelemetry's exporter has the names, the labels and the
// values that the status page's own text has: one dashboard is right for both.
func TestPrometheusIsTheSame(t *testing.T) {
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
	if err != nil {
		t.Fatal(err)
	}
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter))
	surecallotel.Export(t, everything, surecallotel.WithMeterProvider(meters), surecallotel.WithInstances())
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	defer server.Close()
	answer, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()

	var own strings.Builder
	if err := status.WritePrometheus(&own, []status.Status{everything()}, true); err != nil {
		t.Fatal(err)
	}
	scraped, want := series(t, answer.Body), series(t, strings.NewReader(own.String()))
	if len(want) == 0 {
		t.Fatal("no series")
	}
	for _, s := range slices.Sorted(maps.Keys(want)) {
		if got, ok := scraped[s]; !ok || got != want[s] {
			t.Errorf("%s: got %v (%v), want %v", s, got, ok, want[s])
		}
		delete(scraped, s)
	}
	for s := range scraped {
		t.Errorf("%s is nothing of the status page's", s)
	}
	for _, m := range status.Metrics() {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(s string) bool { return strings.HasPrefix(s, m.Prometheus()+" ") }) {
			t.Errorf("%s: there is no %s", m.Name, m.Prometheus())
		}
	}
}

// series are the values by type, name and labels, without those of the exporter itself.
func series(t *testing.T, text io.Reader) map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for name, f := range families {
		if name == "target_info" {
			continue
		}
		for _, m := range f.Metric {
			labels := model.LabelSet{}
			for _, l := range m.Label {
				if !strings.HasPrefix(l.GetName(), "otel_scope_") {
					labels[model.LabelName(l.GetName())] = model.LabelValue(l.GetValue())
				}
			}
			value := m.GetGauge().GetValue()
			if m.Counter != nil {
				value = m.GetCounter().GetValue()
			}
			all[name+" "+f.GetType().String()+labels.String()] = value
		}
	}
	return all
}
