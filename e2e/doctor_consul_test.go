package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/surecall/surecall/internal/consultest"
)

var targetFaults = []fault{
	{
		"two slashes", func(*ward) visit { return visit{target: "consul://orders"} },
		"target", "service is missing", "write three slashes: consul:///orders",
	},
	{
		"an unknown key", func(*ward) visit { return visit{target: "consul:///orders?tagg=v2&token=5ec2e7aa"} },
		"target", `"tagg" is unknown`, "go doc github.com/surecall/surecall/discovery/consul",
	},
	{
		"no scheme", func(*ward) visit { return visit{target: "orders"} },
		"target", "has no scheme", "write consul:///orders",
	},
	{
		"a name without records", func(*ward) visit { return visit{target: "dns:///orders.invalid:50051"} },
		"target", `"orders.invalid" does not resolve`, "DNS zone",
	},
	{
		"a token file that is not there", func(w *ward) visit { return w.visit("", "-token-file", "/none/token") },
		"target", "/none/token: no such file", "correct the path",
	},
}

// atAgent is a visit to what is no sound agent.
func atAgent(address string, env ...string) visit {
	return visit{target: "consul:///orders", env: append(env, "CONSUL_HTTP_ADDR="+address)}
}

var agentFaults = []fault{
	{
		"no agent", func(w *ward) visit { return atAgent(w.closed()) },
		"agent", "nothing listens at 127.0.0.1:", "CONSUL_HTTP_ADDR",
	},
	{
		"an agent that hangs", func(w *ward) visit {
			hung := consultest.Start(w.T)
			if err := hung.Pause(); err != nil {
				w.Fatal(err)
			}
			return atAgent(hung.Addr)
		},
		"agent", "gives no answer within 2s", "firewall",
	},
	{
		"no Consul", func(w *ward) visit {
			return atAgent(w.web(func(*http.Server) {}, func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "nginx", http.StatusNotFound) }))
		},
		"agent", "is no Consul agent: 404 nginx", "its port is 8500",
	},
	{
		"an agent's other port", func(w *ward) visit { return atAgent(w.serve(plaintext)) },
		"agent", "speaks no HTTP", "its port is 8500",
	},
	{
		"an agent with TLS, asked without", func(w *ward) visit { return atAgent(w.consulOverTLS()) },
		"agent", "speaks TLS, and http is asked for", "CONSUL_HTTP_SSL=true",
	},
	{
		"an agent without TLS, asked with", func(w *ward) visit { return atAgent(w.plain.Addr, "CONSUL_HTTP_SSL=true") },
		"agent", "answers without TLS", "unset CONSUL_HTTP_SSL",
	},
	{
		"an agent of an unknown authority", func(w *ward) visit {
			return atAgent("https://"+w.consulOverTLS(), "CONSUL_TLS_SERVER_NAME=localhost")
		},
		"agent", "certificate of an unknown authority", "CONSUL_CACERT",
	},
	{
		"an agent of another name", func(w *ward) visit {
			return atAgent("https://"+w.consulOverTLS(), "CONSUL_CACERT="+w.ca.flags()[1])
		},
		"agent", "certificate for another name", "CONSUL_TLS_SERVER_NAME",
	},
}

// guarded registers the service at the agent that has ACLs, and asks with a token of
// these rules.
func guarded(rules string) func(*ward) visit {
	return func(w *ward) visit {
		w.put(w.strict.Addr, "/v1/agent/service/register", w.passing("1", w.serve(plaintext), nil))
		v := visit{target: "consul:///" + w.service, env: []string{"CONSUL_HTTP_ADDR=" + w.strict.Addr}}
		if rules != "" {
			v.env = append(v.env, "CONSUL_HTTP_TOKEN="+w.token(strings.ReplaceAll(rules, "SERVICE", w.service)))
		}
		return v
	}
}

var tokenFaults = []fault{
	{
		"no token", guarded(""),
		"token", "no token is set and Consul's policy is to deny", "CONSUL_HTTP_TOKEN_FILE",
	},
	{
		"a token that Consul does not know", func(w *ward) visit {
			w.secrets = append(w.secrets, "0bad70ce-0000-4000-8000-000000000000")
			return visit{target: "consul:///orders", env: []string{"CONSUL_HTTP_ADDR=" + w.strict.Addr}, args: []string{"-token-file", w.file(w.secrets[0])}}
		},
		"token", "does not know the token from -token-file", "consul acl token create",
	},
	{
		"a token without service read", guarded(`node_prefix "" { policy = "read" } service "other" { policy = "read" }`),
		"token", "CONSUL_HTTP_TOKEN lacks service:read", `{ policy = "read" } node_prefix "" { policy = "read" }`,
	},
	{
		"a token without node read", guarded(`service "SERVICE" { policy = "read" }`),
		"token", "CONSUL_HTTP_TOKEN lacks node:read", `{ policy = "read" } node_prefix "" { policy = "read" }`,
	},
}

var serviceFaults = []fault{
	{
		"a name without its dash", func(w *ward) visit {
			w.register(w.closed(), nil)
			v := w.visit("")
			v.target = strings.ReplaceAll(v.target, "-", "")
			return v
		},
		"service", "it knows a-name-without-its-dash", "write consul:///a-name-without-its-dash",
	},
	{
		"nobody registered", func(w *ward) visit { return w.visit("") },
		"service", "nor one of a similar name", "start an instance",
	},
	{
		"an unknown datacenter", func(w *ward) visit { return w.visit("?dc=dc11") },
		"leader", `knows no datacenter "dc11": it knows dc1`, "write dc=dc1",
	},
	{
		"a namespace of the community edition", func(w *ward) visit { return w.visit("?ns=team") },
		"service", "Namespaces are a Consul Enterprise feature", "take ns and partition out",
	},
	{
		"an unknown peer", func(w *ward) visit {
			w.register(w.closed(), nil)
			return w.visit("?peer=us")
		},
		"service", `in peer "us", but without the peer it does`, "consul peering list",
	},
	{
		"a tag that nobody has", func(w *ward) visit {
			w.register(w.closed(), map[string]any{"Tags": []string{"version-2"}})
			return w.visit("?tag=version2")
		},
		"query", "lacks the tag version2: there are version-2", "write tag=version-2",
	},
	{
		"a filter that cannot be", func(w *ward) visit {
			w.register(w.closed(), nil)
			return w.visit("?filter=Service.Port%20%3E%2010")
		},
		"query", "cannot evaluate the filter", "there is no <",
	},
	{
		"a filter that nobody passes", func(w *ward) visit {
			w.register(w.closed(), nil)
			return w.visit("?filter=Service.Meta.version%20==%20v2")
		},
		"query", "lets none through", "consul catalog nodes -service=a-filter",
	},
	{
		"no such prepared query", func(w *ward) visit { return w.visit("?prepared-query=nearest") },
		"service", `no prepared query "nearest"`, "/v1/query",
	},
	{
		"a dead process", func(w *ward) visit {
			w.register(w.closed(), map[string]any{"Check": map[string]any{"Name": "heart-beat", "TTL": "10ms", "Status": "passing"}})
			w.eventually("critical")
			return w.visit("")
		},
		"checks", "TTL expired", "consul services deregister -id=a-dead-process-1",
	},
	{
		"a check that fails", func(w *ward) visit {
			w.register(w.closed(), map[string]any{"Check": map[string]any{"Name": "grpc", "GRPC": w.closed(), "Interval": "50ms", "Timeout": "1s"}})
			w.locally("connection refused")
			return w.visit("")
		},
		"checks", "connection refused", "let the agent on node agent-",
	},
	{
		"maintenance", func(w *ward) visit {
			w.register(w.closed(), nil)
			w.put(w.plain.Addr, "/v1/agent/service/maintenance/maintenance-1?enable=true&reason=disk+swap", nil)
			return w.visit("")
		},
		"checks", "in maintenance: disk swap", "consul maint -disable -service=maintenance-1",
	},
}

var registrationFaults = []fault{
	{
		"port 0", func(w *ward) visit { w.register("127.0.0.1:0", nil); return w.visit("") },
		"registration", `port "0"`, "register the port that the gRPC server listens on",
	},
	{
		"every interface", func(w *ward) visit {
			// Consul refuses it as the address itself, and takes it where kratos writes it.
			w.register(w.closed(), map[string]any{"TaggedAddresses": map[string]any{"grpc": map[string]any{"Address": "grpc://0.0.0.0:9000", "Port": 9000}}})
			return w.visit("")
		},
		"registration", "an address that means every interface", "register the address that others reach",
	},
	{
		"loopback of another host", func(w *ward) visit {
			w.external(map[string]any{"Service": w.service, "ID": "far-1", "Address": "127.0.0.1", "Port": 50051})
			return w.visit("")
		},
		"registration", "far-1 at 127.0.0.1:50051 on node far-away (10.1.2.3)", "register the address that others reach",
	},
	{
		"kratos without gRPC", func(w *ward) visit {
			w.register("127.0.0.1:8000", map[string]any{"TaggedAddresses": map[string]any{"http": map[string]any{"Address": "http://127.0.0.1:8000", "Port": 8000}}})
			return w.visit("")
		},
		"registration", "the port of its HTTP server", "kratos.Server",
	},
	{
		"no such port", func(w *ward) visit { w.register(w.closed(), nil); return w.visit("?port=grpc") },
		"registration", `has no port named "grpc"`, "correct port in the target",
	},
	{
		"no such tagged address", func(w *ward) visit { w.register(w.closed(), nil); return w.visit("?address=vpn") },
		"registration", `has no tagged address "vpn"`, "correct address in the target",
	},
}

// The other datacenter has the service; then the servers of this one are gone.
func TestDoctorAcrossDatacenters(t *testing.T) {
	t.Parallel()
	w := (&ward{T: t, strict: &consultest.Agent{}}).patient(t)
	two := startClusters(t,
		consultest.ClusterOptions{Datacenter: "eu", Servers: 1, Net: 31},
		consultest.ClusterOptions{Datacenter: "us", Servers: 1, Net: 32})
	w.plain = two[1].Clients[0]
	w.register(w.serve(plaintext), nil)
	w.plain = two[1].Servers[0]
	w.eventually("passing")
	w.plain = two[0].Clients[0]
	check := func(v visit, step, says, cures string) {
		t.Helper()
		d := see(t, v)
		for _, s := range d.Steps {
			if s.Status != "fault" {
				continue
			}
			t.Logf("%s: %s → %s", s.Step, s.Text, s.Remedy)
			if s.Step == step && strings.Contains(s.Text, says) && strings.Contains(s.Remedy, cures) {
				return
			}
		}
		t.Errorf("want %q in %s, with the remedy %q:\n%s", says, step, cures, d.text)
	}
	check(w.visit(""), "service", "but datacenter us has it", "write consul:///"+w.service+"?dc=us")
	if d := see(t, w.visit("?dc=us")); !d.Healthy {
		t.Errorf("with the datacenter that has it:\n%s", d.text)
	}
	if d := see(t, w.visit("?dc=eu,us")); !d.Healthy || !strings.Contains(d.text, "us stands in") {
		t.Errorf("with both datacenters:\n%s", d.text)
	}
	two[0].Servers[0].Kill()
	check(w.visit(""), "leader", "Consul's servers have no leader", "consul operator raft list-peers")
}
