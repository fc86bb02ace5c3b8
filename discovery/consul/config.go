package consul

import (
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/event"
)

// Bounds and defaults of [Config.WaitTime] and [Config.Refresh].
const (
	DefaultWaitTime = 60 * time.Second
	MinWaitTime     = time.Second
	MaxWaitTime     = 10 * time.Minute // Consul cuts longer ones to this

	DefaultRefresh = 10 * time.Second
	MinRefresh     = time.Second
	MaxRefresh     = 10 * time.Minute
)

// Config says which Consul agent to talk to, and how. The zero value is the agent
// that the standard CONSUL_* environment names, else the one on this host. As in
// Consul's own client, an empty field takes its value from the environment; so a
// token in the environment cannot be switched off by leaving Token empty.
type Config struct {
	// Address of the agent: "host:port", "http://host:port", "https://host/prefix" or
	// "unix:///path". Default CONSUL_HTTP_ADDR, else localhost:8500.
	Address string
	// Scheme is "http" or "https". Default https if CONSUL_HTTP_SSL is true, else http.
	// An https:// in Address wins over it.
	Scheme string
	// Username and Password are for HTTP basic authentication at a proxy before the
	// agent. Default CONSUL_HTTP_AUTH.
	Username, Password string
	// Token is the ACL token. Watching needs service:read and node:read, registering
	// service:write. Default CONSUL_HTTP_TOKEN.
	Token string
	// TokenFile holds the token; it wins over Token and is read again for each request,
	// so that a rotated token is used at once. Default CONSUL_HTTP_TOKEN_FILE.
	TokenFile string
	// Datacenter, Namespace and Partition apply to each query that names none of its
	// own; Namespace and Partition also to registrations. Default: those of the agent
	// and CONSUL_NAMESPACE, CONSUL_PARTITION. "default" is the same as empty: Consul's
	// community edition refuses the word.
	Datacenter string
	Namespace  string
	Partition  string
	// TLS is used with https. Default CONSUL_CACERT, CONSUL_CAPATH, CONSUL_CLIENT_CERT,
	// CONSUL_CLIENT_KEY, CONSUL_TLS_SERVER_NAME, CONSUL_HTTP_SSL_VERIFY.
	TLS api.TLSConfig
	// WaitTime is how long the agent may hold a query while nothing changes; it bounds
	// every silent failure of a watch. Default 60 s, 1 s to 10 min.
	WaitTime time.Duration
	// Refresh is how often a prepared query is executed, give or take a tenth: Consul
	// cannot tell of changes to its result. Each time costs one read of the leader. Default
	// 10 s, 1 s to 10 min. Other queries have their changes pushed and do not use it.
	Refresh time.Duration
	// Events is told when a registration cannot be kept alive and when it can again.
	// Default none.
	Events event.Handler
}

// Validate reports everything that is wrong with c and with the CONSUL_*
// environment it is completed from, joined.
func (c Config) Validate() error {
	_, err := c.resolve()
	return err
}

// String describes c without any secret.
func (c Config) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "consul.Config{Address: %q", redactUser(c.Address))
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, ", %s: %q", name, value)
		}
	}
	secret := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, ", %s: (set)", name)
		}
	}
	field("Scheme", c.Scheme)
	field("Username", c.Username)
	secret("Password", c.Password)
	secret("Token", c.Token)
	field("TokenFile", c.TokenFile)
	field("Datacenter", c.Datacenter)
	field("Namespace", c.Namespace)
	field("Partition", c.Partition)
	if c.WaitTime != 0 {
		fmt.Fprintf(&b, ", WaitTime: %v", c.WaitTime)
	}
	if c.Refresh != 0 {
		fmt.Fprintf(&b, ", Refresh: %v", c.Refresh)
	}
	return b.String() + "}"
}

// GoString keeps %#v from showing what String hides.
func (c Config) GoString() string { return c.String() }
