package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/internal/wire"
)

// at registers what arrange starts, and asks with these flags.
func at(arrange func(*ward) string, args ...string) func(*ward) visit {
	return func(w *ward) visit {
		w.register(arrange(w), nil)
		return w.visit("", args...)
	}
}

func serving(s sick) func(*ward) string { return func(w *ward) string { return w.serve(s) } }

var instanceFaults = []fault{
	{
		"connection refused", at((*ward).closed),
		"dial", "the only instance: connection refused: connection-refused-1 at 127.0.0.1:", "start the server",
	},
	{
		"one of three is gone", func(w *ward) visit {
			w.registerAll(2, w.serve(plaintext))
			w.put(w.plain.Addr, "/v1/agent/service/register", w.passing("3", w.closed(), nil))
			return w.visit("")
		},
		"dial", "1 of 3 instances: connection refused", "start the server",
	},
	{
		"a name that does not resolve", at(func(*ward) string { return "orders.invalid:50051" }),
		"dial", `the name "orders.invalid" does not resolve`, "register an address that callers can resolve",
	},
	{
		"a process that hangs", at(func(w *ward) string { return w.talk("") }),
		"protocol", "accepts connections and says nothing within 2s", "kill -QUIT",
	},
	{
		"another protocol", at(func(w *ward) string { return w.talk("SSH-2.0-OpenSSH_9.2\r\n") }),
		"protocol", "speaks neither TLS nor HTTP", "register the port of the gRPC server",
	},
	{
		"HTTP/1", at(func(w *ward) string {
			return w.web(func(*http.Server) {}, func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "hello") })
		}),
		"protocol", "speaks HTTP/1 and no HTTP/2", "that of a web server",
	},
	{
		"HTTP/2 without gRPC", at(func(w *ward) string {
			return w.web(func(s *http.Server) {
				s.Protocols = new(http.Protocols)
				s.Protocols.SetUnencryptedHTTP2(true)
			}, http.NotFound)
		}),
		"protocol", "speaks HTTP/2 and no gRPC: it answers 404", "register the port of the gRPC server",
	},
	{
		"TLS asked for, plaintext there", at(serving(plaintext), "-tls"),
		"protocol", "speaks plaintext, and TLS is asked for", "WithInsecure",
	},
	{
		"plaintext asked for, TLS there", at(func(w *ward) string { return w.serve(w.ca.creds(w.name("a"))) }, "-insecure"),
		"protocol", "speaks TLS, and plaintext is asked for", "WithTransportCredentials",
	},
	{
		"half with TLS", func(w *ward) visit {
			everything := w.name("*.service.consul")
			w.put(w.plain.Addr, "/v1/agent/service/register", w.passing("1", w.serve(w.ca.creds(everything)), nil))
			w.put(w.plain.Addr, "/v1/agent/service/register", w.passing("2", w.serve(plaintext), nil))
			return w.visit("")
		},
		"protocol", "1 speak TLS", "give all instances TLS, or none",
	},
}

// trusting registers a server of these papers, and asks with the authority's file.
func trusting(papers func(*ward) sick) func(*ward) visit {
	return func(w *ward) visit {
		w.register(w.serve(papers(w)), nil)
		return w.visit("", w.ca.flags()...)
	}
}

var tlsFaults = []fault{
	{
		"an unknown authority", at(func(w *ward) string { return w.serve(w.ca.creds(w.name("*.service.consul"))) }),
		"tls", `an authority that is not trusted here, "test authority"`, "-ca",
	},
	{
		"another name", trusting(func(w *ward) sick { return w.ca.creds(w.name("orders.example.com")) }),
		"tls", `is not for "another-name.service.consul": it is for orders.example.com, 10.9.8.7`, "-server-name",
	},
	{
		"expired", trusting(func(w *ward) sick { return w.ca.creds(paper{[]string{"*.service.consul"}, time.Now().Add(-time.Hour)}) }),
		"tls", `the certificate of "orders server" ended at`, "renew",
	},
	{
		"a client certificate is wanted", trusting(func(w *ward) sick { return w.ca.mutual(w.name("*.service.consul")) }),
		"tls", "refuses the TLS connection", "it wants a client certificate: name one with -cert and -key",
	},
	{
		"another client certificate is wanted", func(w *ward) visit {
			config := w.ca.server(w.name("*.service.consul"))
			config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, newAuthority(w.T).pool
			w.register(w.serve(sick{creds: credentials.NewTLS(config)}), nil)
			return w.visit("", append(w.ca.flags(), w.ca.own()...)...)
		},
		"tls", "refuses the TLS connection", "does not accept the client certificate",
	},
	{
		"TLS without HTTP/2", func(w *ward) visit {
			w.register(w.web(func(s *http.Server) {
				s.TLSConfig, s.ErrorLog = w.ca.server(w.name("*.service.consul")), quiet
				s.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
			}, http.NotFound), nil)
			return w.visit("", w.ca.flags()...)
		},
		"tls", "does not offer HTTP/2 in it (ALPN)", `offer "h2"`,
	},
}

var healthFaults = []fault{
	{
		"unauthenticated", at(serving(sick{interceptor: intercept(func(context.Context) error {
			return status.Error(codes.Unauthenticated, "no token")
		})})),
		"auth", "Unauthenticated: no token", "/grpc.health.v1.Health/*",
	},
	{
		"permission denied", at(serving(sick{interceptor: intercept(func(context.Context) error {
			return status.Error(codes.PermissionDenied, "not you")
		})})),
		"auth", "PermissionDenied: not you", "/grpc.health.v1.Health/*",
	},
	{
		"leaving", at(serving(sick{interceptor: intercept(func(ctx context.Context) error {
			return grpc.SetTrailer(ctx, metadata.Pairs(wire.Draining, "1"))
		})})),
		"draining", "announces that it is leaving", "wait for its replacement",
	},
	{
		"not serving", at(serving(sick{status: healthpb.HealthCheckResponse_NOT_SERVING})),
		"health", "says NOT_SERVING", "look why the server is not ready",
	},
	{
		"a service whose health is not known", at(serving(plaintext), "-health-service", "orders.v2.Orders"),
		"health", `service "orders.v2.Orders" (SERVICE_UNKNOWN)`, `SetServingStatus("orders.v2.Orders", SERVING)`,
	},
	{
		"a handler that hangs", at(serving(sick{interceptor: intercept(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})})),
		"health", "does not answer the health check within 2s", "stacks",
	},
	{
		"a health check that fails", at(serving(sick{interceptor: intercept(func(context.Context) error {
			return status.Error(codes.Internal, "database is down")
		})})),
		"health", "Internal: database is down", "its health handler fails",
	},
}
