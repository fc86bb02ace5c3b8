package surecall_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

const policyHeader = "x-surecall-policy"

// What the metadata of a call says holds for that call, over everything else; of the request
// that is being served, or its own.
func TestPolicyHeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster, surecall.WithPolicyHeader("X-Surecall-Policy"), surecall.WithCallerPolicy(newPaper(`{"deadline": "4s"}`)))
		without := ready(t, cluster)
		defer holdAll(cluster)()
		own := func(text string) context.Context {
			return metadata.AppendToOutgoingContext(t.Context(), policyHeader, "{}", policyHeader, text)
		}
		served := func(text string) context.Context {
			return metadata.NewIncomingContext(t.Context(), metadata.Pairs(policyHeader, text))
		}
		for name, test := range map[string]struct {
			client *surecall.Client
			ctx    context.Context
			took   time.Duration
		}{
			"none":           {client, t.Context(), 4 * time.Second},
			"own":            {client, own(`{"deadline": "1s"}`), time.Second},
			"the request's":  {client, served(`{"deadline": "2s"}`), 2 * time.Second},
			"both":           {client, metadata.AppendToOutgoingContext(served(`{"deadline": "2s"}`), policyHeader, `{"deadline": "1s"}`), time.Second},
			"says nothing":   {client, own(`{}`), 4 * time.Second},
			"not asked for":  {without, own(`{"deadline": "1s"}`), 5 * time.Second},
			"other metadata": {client, metadata.AppendToOutgoingContext(t.Context(), "x-other", "{"), 4 * time.Second},
		} {
			began := time.Now()
			_, err := unary(test.ctx, test.client, placeMethod, surecall.ForCall(surecall.WithoutRetry()))
			if took := time.Since(began); took != test.took || status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("%s: took %v, %v: want %v", name, took, err, test.took)
			}
		}
		began := time.Now()
		if _, err := unary(own(`{"deadline": "1s"}`), client, placeMethod, surecall.ForCall(surecall.WithCallDeadline(3*time.Second))); time.Since(began) != time.Second {
			t.Errorf("over ForCall: took %v, %v", time.Since(began), err)
		}
		stream, err := orders.NewOrdersClient(client).Watch(own(`{"deadline": "1s"}`), &orders.GetRequest{})
		began = time.Now()
		if err == nil {
			_, err = stream.Recv()
		}
		if time.Since(began) != time.Second {
			t.Errorf("a stream took %v, %v", time.Since(began), err)
		}
	})
}

// The header of a request is not sent on; a call's own is, as any metadata.
func TestPolicyHeaderIsNotSentOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		heard := &overheard{key: policyHeader}
		cluster := surecalltest.NewCluster(t, 1, heard.listen()...)
		client := ready(t, cluster, surecall.WithPolicyHeader(policyHeader))
		for _, ctx := range []context.Context{
			metadata.NewIncomingContext(t.Context(), metadata.Pairs(policyHeader, `{"retry": false}`)),
			metadata.AppendToOutgoingContext(t.Context(), policyHeader, `{"retry": false}`),
		} {
			if _, err := unary(ctx, client, getMethod); err != nil {
				t.Error(err)
			}
		}
		if got := fmt.Sprintf("%q", heard.since()); got != `["" "{\"retry\": false}"]` {
			t.Errorf("servers heard %s", got)
		}
	})
}

// A header that is wrong ends the call before anything is sent, and says why; there may be
// any number of different ones.
func TestBadPolicyHeaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster, surecall.WithPolicyHeader(policyHeader))
		for text, want := range map[string]string{
			"":                              "empty",
			"{":                             "cut off",
			`{"deadlin": "1s"}`:             `did you mean "deadline"?`,
			`{"methods": {}}`:               `"methods": line 1: unknown key`,
			`{"breaker": {}}`:               `"breaker": line 1: unknown key`,
			`{"deadline": "0s"}`:            "policy: deadline: surecall: WithCallDeadline 0s",
			`{"rate": {"per_second": 1}}`:   "rate: it counts many calls, so that one call can only switch it off: want false",
			`{"hedge": {}, "retry": false}`: "WithHedge and MaxAttempts 1",
			`{"cache": {}, "x": "` + strings.Repeat("x", 9000) + `"}`: "want at most 8192",
		} {
			_, err := unary(metadata.AppendToOutgoingContext(t.Context(), policyHeader, text), client, getMethod)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "surecall: metadata "+policyHeader+": ") || !strings.Contains(err.Error(), want) {
				t.Errorf("%.40s: error %v: want %q", text, err, want)
			}
		}
		if n := cluster.Calls(); n != 0 {
			t.Errorf("%d calls were sent", n)
		}
		for _, text := range []string{`{"rate": false, "concurrency": false, "throttle": false, "method_breaker": false}`, `{"idempotent": true, "hedge": {"delay": "1s"}}`} {
			if _, err := unary(metadata.AppendToOutgoingContext(t.Context(), policyHeader, text), client, placeMethod); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
		for n := range 1000 {
			if _, err := unary(metadata.AppendToOutgoingContext(t.Context(), policyHeader, fmt.Sprintf(`{"deadline": "%dms"}`, n+1000)), client, getMethod); err != nil {
				t.Fatal(err)
			}
		}
		if n := surecall.HeadersKnown(client); n > 256 {
			t.Errorf("%d headers are remembered", n)
		}
	})
}

// A call without the header allocates nothing for it.
func TestPolicyHeaderIsFree(t *testing.T) {
	over := surecall.HeaderOver(policyHeader)
	for name, ctx := range map[string]context.Context{
		"no metadata": t.Context(),
		"of others":   metadata.NewIncomingContext(t.Context(), metadata.Pairs("x-other", "y", "authorization", "z")),
	} {
		if n := testing.AllocsPerRun(100, func() { over(ctx) }); n != 0 && !raceDetector {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
