package surecall_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/resolver"
	"github.com/surecall/surecall/retry"
)

// Each mistake is an error that names field, value and bound.
func TestBadOptions(t *testing.T) {
	for name, test := range map[string]struct {
		option surecall.Option
		want   []string
	}{
		"nil":                   {nil, []string{"option 1 is nil"}},
		"nil in a bundle":       {surecall.WithOptions(surecall.WithoutBreaker(), nil), []string{"WithOptions: option 1 is nil"}},
		"source":                {surecall.WithSource(nil), []string{"WithSource: nil"}},
		"dialer":                {surecall.WithContextDialer(nil), []string{"WithContextDialer: nil"}},
		"credentials":           {surecall.WithTransportCredentials(nil), []string{"no transport security", "WithTransportCredentials", "WithInsecure()"}},
		"loss":                  {surecall.WithLoss(resolver.Hold(-time.Second)), []string{"Hold -1s", "want 0"}},
		"idle timeout":          {surecall.WithIdleTimeout(-time.Second), []string{"WithIdleTimeout -1s", "want 0"}},
		"slow start":            {surecall.WithBalancer(balancer.Policy{SlowStart: -1}), []string{"SlowStart -1ns"}},
		"slow start's share":    {surecall.WithBalancer(balancer.Policy{SlowStartFrom: 1.5}), []string{"SlowStartFrom 1.5", "≤ 1"}},
		"breaker":               {surecall.WithBreaker(breaker.Policy{FailureRatio: 2, Window: -1}), []string{"FailureRatio 2: want 0 to 1", "Window -1ns"}},
		"service breaker":       {surecall.WithServiceBreaker(breaker.ServicePolicy{Quiet: -1}), []string{"Quiet -1ns"}},
		"classifier":            {surecall.WithClassifier(nil), []string{"WithClassifier: nil"}},
		"budget":                {surecall.WithRetryBudget(retry.BudgetPolicy{Ratio: 11}), []string{"Ratio 11: want 0 to 10"}},
		"retry":                 {surecall.WithRetry(retry.Policy{MaxAttempts: 11, Codes: []codes.Code{codes.OK}}), []string{"MaxAttempts 11: want 1 to 10", "Codes OK"}},
		"deadline":              {surecall.WithCallDeadline(0), []string{"WithCallDeadline 0s: want more than 0"}},
		"attempt timeout":       {surecall.WithAttemptTimeout(surecall.AttemptTimeout{Multiple: 0.5, Min: -1}), []string{"Multiple 0.5", "Min -1ns"}},
		"method option":         {surecall.ForMethod("/a.B/C", surecall.WithCallDeadline(-1)), []string{`ForMethod("/a.B/C")`, "WithCallDeadline -1ns"}},
		"nil method option":     {surecall.ForMethod("/a.B/C", nil), []string{`ForMethod("/a.B/C"): option 0 is nil`}},
		"hedge":                 {surecall.WithHedge(retry.Hedge{Delay: -1}), []string{"Hedge.Delay -1ns: want 0s to 1h0m0s"}},
		"concurrency":           {surecall.WithConcurrency(limit.Concurrency{Limit: -1, Queue: limit.Queue{MaxWaiting: -2}}), []string{"Limit -1: want 0 to", "Queue.MaxWaiting -2: want 0 to"}},
		"adaptive with a limit": {surecall.WithConcurrency(limit.Concurrency{Limit: 5, Adaptive: limit.Adaptive{On: true, Tolerance: 11}}), []string{"Limit 5: want 0 while Adaptive is on", "Tolerance 11: want 0 to 10"}},
		"adaptive that is off":  {surecall.WithConcurrency(limit.Concurrency{Adaptive: limit.Adaptive{Max: 9}}), []string{"Adaptive", "want On"}},
		"queue of nobody":       {surecall.WithConcurrency(limit.Concurrency{Queue: limit.Queue{Target: 1}}), []string{"Queue", "want MaxWaiting"}},
		"a method's limit":      {surecall.ForMethod("/a.B/C", surecall.WithConcurrency(limit.Concurrency{Limit: -1})), []string{`ForMethod("/a.B/C")`, "Limit -1: want 0 to"}},
		"instance limit":        {surecall.WithInstanceConcurrency(limit.Concurrency{Limit: -3}), []string{"Limit -3: want 0 to"}},
		"instance queue":        {surecall.WithInstanceConcurrency(limit.Concurrency{Queue: limit.Queue{MaxWaiting: 1}}), []string{"WithInstanceConcurrency: Queue", "want none"}},
		"streams: no limit":     {surecall.WithStreamConcurrency(limit.Concurrency{}), []string{"WithStreamConcurrency: Limit 0: want more than 0, or WithoutStreamConcurrency()"}},
		"streams: negative":     {surecall.WithStreamConcurrency(limit.Concurrency{Limit: -1}), []string{"Limit -1: want 0 to"}},
		"streams: adaptive":     {surecall.WithStreamConcurrency(limit.Concurrency{Adaptive: limit.Adaptive{On: true}}), []string{"WithStreamConcurrency: Adaptive is on: want a fixed Limit"}},
		"rate":                  {surecall.WithRateLimit(limit.Rate{}), []string{"PerSecond 0: want 0.001 to"}},
		"rate's burst":          {surecall.WithRateLimit(limit.Rate{PerSecond: 1, Burst: -1, MaxWait: 1}), []string{"Burst -1: want 1 to", "MaxWait 1ns: want Wait with it"}},
		"throttle":              {surecall.WithThrottle(limit.Throttle{K: 1, MaxRejected: 2}), []string{"K 1: want 1.1 to 100", "MaxRejected 2: want 0 to 1"}},
		"method breaker":        {surecall.WithMethodBreaker(breaker.MethodPolicy{FailureRatio: 2, SlowRatio: 0.5}), []string{"FailureRatio 2: want 0 to 1", "SlowRatio 0.5: want SlowCall"}},
		"replay buffer":         {surecall.WithReplayBuffer(0), []string{"WithReplayBuffer 0: want more than 0 bytes, or WithoutReplayBuffer()"}},
		"pattern: empty":        {surecall.ForMethod(""), []string{`method pattern ""`}},
		"pattern: no slash":     {surecall.ForMethod("a.B/C"), []string{`method pattern "a.B/C": want "/package.Service/Method"`}},
		"pattern: no method":    {surecall.ForMethod("/a.B"), []string{`method pattern "/a.B"`}},
		"pattern: empty method": {surecall.ForMethod("/a.B/"), []string{`method pattern "/a.B/"`}},
		"pattern: two slashes":  {surecall.ForMethod("/a.B/C/D*"), []string{`method pattern "/a.B/C/D*"`}},
		"pattern: inner star":   {surecall.WithIdempotent("/a.B/*C"), []string{`method pattern "/a.B/*C"`}},
		"pattern: two stars":    {surecall.WithNotIdempotent("/a.*/*"), []string{`method pattern "/a.*/*"`}},
		"nil dial option":       {surecall.WithDialOptions(nil), []string{"WithDialOptions: option 0 is nil"}},
	} {
		t.Run(name, func(t *testing.T) {
			base := surecall.WithInsecure()
			if name == "credentials" {
				base = surecall.WithoutBreaker()
			}
			client, err := surecall.NewClient("dns:///orders:1", base, test.option)
			if err == nil {
				client.Close()
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q: want %q in it", err, want)
				}
			}
			if _, again := surecall.DialOptions("dns:///orders:1", base, test.option); again == nil || again.Error() != err.Error() {
				t.Errorf("DialOptions: %v: want the same error", again)
			}
		})
	}
}

// All mistakes, of target and options, are told at once.
func TestMistakesAreJoined(t *testing.T) {
	_, err := surecall.NewClient("memory://host/?x=1",
		surecall.WithSource(memory.New()), nil, surecall.WithCallDeadline(-1),
		surecall.WithDialOptions(grpc.WithDisableRetry(), grpc.WithIdleTimeout(time.Second)),
	)
	for _, want := range []string{
		"names no service", `host "host"`, `unknown key "x"`, "option 1 is nil", "WithCallDeadline -1ns",
		"no transport security", "grpc.WithDisableRetry", "grpc.WithIdleTimeout",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v: want %q in it", err, want)
		}
	}
}

func TestBadTargets(t *testing.T) {
	const secret = "s3cr3t"
	for target, test := range map[string]struct {
		source bool
		want   string
	}{
		"":                                  {false, "target is empty: want scheme:///service"},
		"consull:///orders?token=" + secret: {false, `unknown scheme "consull"`},
		"consul:///":                        {false, "service"},
		"consul:///orders?tagg=a&token=" + secret: {false, `"tagg"`},
		"consul:///orders?limit=" + "x":           {false, `limit`},
		"consul://u:" + secret + "@h:1/":          {false, "service"},
		"static:///":                              {false, "static"},
		"static:///a":                             {false, "static"},
		"memory:///orders?token=" + secret:        {false, "WithSource"},
		"memory:///":                              {true, "names no service: want memory:///service"},
		"memory:///orders?token=" + secret + "1":  {true, `unknown key "token"`},
		"memory://u:" + secret + "@h/orders":      {true, `host "h"`},
		"orders:1?token=" + secret:                {true, "want scheme:///service, because WithSource is given"},
		"memory://%zz":                            {false, "cannot be parsed"},
		"memory:///orders?tag=%zz":                {true, "cannot be parsed"},
		"memory:///orders?tag=":                   {true, "tag is empty"},
		"consul:orders?token=" + secret:           {false, "want consul:///service"},
		"static:a:1":                              {false, "want static:///service"},
		"dns:///":                                 {false, "names nothing"},
		"consul://h:1/orders?token=" + secret:     {true, "because WithSource is given"},
		"://orders":                               {false, "cannot be parsed"},
	} {
		t.Run(target, func(t *testing.T) {
			options := []surecall.Option{surecall.WithInsecure()}
			if test.source {
				options = append(options, surecall.WithSource(memory.New()))
			}
			_, err := surecall.NewClient(target, options...)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "surecall: ") {
				t.Errorf("error %v: want %q in it", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("error %v: tells a secret", err)
			}
		})
	}
}

func TestGoodTargets(t *testing.T) {
	for _, target := range []string{
		"consul:///orders", "consul://127.0.0.1:8500/orders?tag=v2&dc=eu", "static:///10.0.0.1:1,10.0.0.2:2",
		"dns:///orders:50051", "orders:50051", "passthrough:///10.0.0.1:1", "unix:///run/orders",
	} {
		client, err := surecall.NewClient(target, surecall.WithInsecure())
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		if err := client.Close(); err != nil {
			t.Errorf("%s: close: %v", target, err)
		}
	}
}

// gRPC's options that surecall sets itself are told apart from the others.
func TestOwnedDialOptions(t *testing.T) {
	dial := func(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed }
	for name, option := range map[string]grpc.DialOption{
		"WithTransportCredentials": grpc.WithTransportCredentials(insecure.NewCredentials()),
		"WithInsecure":             grpc.WithInsecure(), //nolint:staticcheck // users still have it
		"WithCredentialsBundle":    grpc.WithCredentialsBundle(bundle{}),
		"WithContextDialer":        grpc.WithContextDialer(dial),
		"WithDialer":               grpc.WithDialer(func(string, time.Duration) (net.Conn, error) { return nil, net.ErrClosed }), //nolint:staticcheck // as above
		"WithIdleTimeout":          grpc.WithIdleTimeout(time.Second),
		"WithDefaultServiceConfig": grpc.WithDefaultServiceConfig(`{}`),
		"WithDisableServiceConfig": grpc.WithDisableServiceConfig(),
		"WithDisableRetry":         grpc.WithDisableRetry(),
		"WithMaxCallAttempts":      grpc.WithMaxCallAttempts(7),
		"WithConnectParams":        grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig}),
		"WithBackoffConfig":        grpc.WithBackoffConfig(grpc.DefaultBackoffConfig), //nolint:staticcheck // as above
		"WithBackoffMaxDelay":      grpc.WithBackoffMaxDelay(time.Second),             //nolint:staticcheck // as above
		"WithDisableHealthCheck":   grpc.WithDisableHealthCheck(),
	} {
		_, err := surecall.NewClient("dns:///orders:1", surecall.WithInsecure(), surecall.WithDialOptions(grpc.WithUserAgent("x"), option))
		if err == nil || !strings.Contains(err.Error(), "grpc."+name+" is surecall's own: use ") {
			t.Errorf("%s: error %v: want it told", name, err)
		}
	}
	for name, option := range map[string]grpc.DialOption{
		"WithUserAgent":          grpc.WithUserAgent("x"),
		"WithAuthority":          grpc.WithAuthority("x"),
		"WithDefaultCallOptions": grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		"WithUnaryInterceptor": grpc.WithUnaryInterceptor(func(ctx context.Context, m string, q, r any, cc *grpc.ClientConn, i grpc.UnaryInvoker, o ...grpc.CallOption) error {
			return i(ctx, m, q, r, cc, o...)
		}),
		"WithNoProxy":     grpc.WithNoProxy(),
		"EmptyDialOption": grpc.EmptyDialOption{},
	} {
		client, err := surecall.NewClient("dns:///orders:1", surecall.WithInsecure(), surecall.WithDialOptions(option))
		if err != nil {
			t.Errorf("%s: %v: want it passed through", name, err)
			continue
		}
		client.Close()
	}
}

type bundle struct{}

func (bundle) TransportCredentials() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{})
}
func (bundle) PerRPCCredentials() credentials.PerRPCCredentials { return nil }
func (b bundle) NewWithMode(string) (credentials.Bundle, error) { return b, nil }
