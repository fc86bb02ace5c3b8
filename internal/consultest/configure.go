package consultest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// role is what an agent is in a cluster. The zero value is an agent on its own.
type role struct {
	kind       kind
	name       string   // of the node
	ip         string   // where it listens, 127.0.0.1 by default
	datacenter string   // "dc1" by default
	join       []string // LAN addresses of its cluster's servers
	joinWAN    []string // WAN addresses of all other datacenters' servers
	servers    int      // that its cluster has
}

type kind int

const (
	alone kind = iota
	server
	client
)

// ports are those that an agent listens on.
type ports struct{ http, grpc, server, lan, wan int }

// reserve chooses ports that are free now.
func (a *Agent) reserve() error {
	free, err := freePorts(a.ip(), 5)
	if err != nil {
		return fmt.Errorf("consultest: free ports: %w", err)
	}
	a.ports = ports{free[0], free[1], free[2], free[3], free[4]}
	a.Addr = a.address(a.ports.http)
	return nil
}

func (a *Agent) ip() string {
	if a.options.role.ip == "" {
		return "127.0.0.1"
	}
	return a.options.role.ip
}

func (a *Agent) address(port int) string { return net.JoinHostPort(a.ip(), strconv.Itoa(port)) }

// configure writes the configuration.
func (a *Agent) configure() error {
	r := a.options.role
	listen := map[string]any{
		"http": a.ports.http, "grpc": a.ports.grpc, "server": a.ports.server, "serf_lan": a.ports.lan,
		"https": -1, "dns": -1, "grpc_tls": -1, "serf_wan": -1,
	}
	config := map[string]any{
		"node_name":                   fmt.Sprintf("agent-%d", a.ports.http),
		"bind_addr":                   a.ip(),
		"client_addr":                 a.ip(),
		"advertise_addr":              a.ip(),
		"disable_update_check":        true,
		"disable_anonymous_signature": true,
		"disable_host_node_id":        true,
		"log_level":                   "warn",
		"connect":                     map[string]any{"enabled": false},
		"peering":                     map[string]any{"enabled": false},
		"ports":                       listen,
	}
	if a.options.Keep {
		config["server"], config["bootstrap_expect"] = true, 1
		config["performance"] = map[string]any{"raft_multiplier": 1}
	}
	if a.options.Keep || r.kind != alone {
		config["data_dir"] = filepath.Join(a.dir, "data")
	}
	switch r.kind {
	case server:
		listen["serf_wan"] = a.ports.wan
		config["server"], config["bootstrap_expect"] = true, r.servers
		config["performance"] = map[string]any{"raft_multiplier": 1}
		// A server that is killed is coming back: autopilot must not take its vote away.
		config["autopilot"] = map[string]any{"cleanup_dead_servers": false}
		if len(r.joinWAN) > 0 {
			config["retry_join_wan"], config["retry_interval_wan"] = r.joinWAN, "1s"
		}
	case client:
		config["server"] = false
	}
	if r.kind != alone {
		config["node_name"], config["datacenter"] = r.name, r.datacenter
		config["retry_join"], config["retry_interval"] = r.join, "1s"
	}
	maps.Copy(config, a.options.Config)
	text, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("consultest: configuration: %w", err)
	}
	if err := os.WriteFile(filepath.Join(a.dir, "config.json"), text, 0o600); err != nil {
		return fmt.Errorf("consultest: %w", err)
	}
	return nil
}

// freePorts returns n ports of ip that nothing listens on now.
func freePorts(ip string, n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		if err != nil {
			return nil, err
		}
		defer l.Close() // at the end, so that no port comes twice
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
