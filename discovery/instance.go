package discovery

import "fmt"

// MaxWeight is the largest weight an instance can have; Consul's own limit.
// Larger ones are clamped to it.
const MaxWeight = 65535

// Instance is one registered process of a service. Treat it as immutable: the
// slices and maps of an Instance are shared between all who received it.
type Instance struct {
	// ID names the instance uniquely within its service. Empty means the address.
	ID string `json:"id,omitempty"`
	// Incarnation tells one life of an instance from the next: a new value at the
	// same ID and address is a new process, which inherits no state. Empty means
	// that the source cannot tell lives apart.
	Incarnation string `json:"incarnation,omitempty"`
	// Service is the name of the service that the instance belongs to.
	Service string `json:"service,omitempty"`
	// Address is where the instance listens: "host:port", "[ipv6]:port" or
	// "unix:/path/to/socket".
	Address string `json:"address"`
	// Weight is the instance's share of calls relative to the others. 0 means 1;
	// above [MaxWeight] it is clamped.
	Weight int `json:"weight,omitempty"`
	// Region and Zone say where the instance runs. Empty means unknown.
	Region string `json:"region,omitempty"`
	Zone   string `json:"zone,omitempty"`
	// Priority is 0 for the instances to be used first; those of a higher number stand
	// by. Clients set it: it is the instance's place among a query's datacenters.
	Priority int `json:"priority,omitempty"`
	// ServerName is the name its TLS certificate is checked against, if the source
	// gives one for this instance. Empty means the service's authority.
	ServerName string `json:"server_name,omitempty"`
	// Tags and Meta are the registration's labels.
	Tags []string          `json:"tags,omitempty"`
	Meta map[string]string `json:"meta,omitempty"`
	// Health is what the source's checks say.
	Health Health `json:"health,omitempty"`
}

// Health is what a source's health checks say of an instance. The zero value is
// Passing: an instance without checks is healthy.
type Health uint8

// The healths, from best to worst.
const (
	Passing     Health = iota // all checks pass, or there are none
	Warning                   // serving, with a warning: gets its warning weight
	Critical                  // a check fails
	Maintenance               // taken out on purpose by an operator
)

var healthNames = [...]string{"passing", "warning", "critical", "maintenance"}

// String returns the health as Consul spells it.
func (h Health) String() string {
	if int(h) < len(healthNames) {
		return healthNames[h]
	}
	return fmt.Sprintf("health(%d)", h)
}

// MarshalText writes the health as String does.
func (h Health) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads one of the four names of String.
func (h *Health) UnmarshalText(text []byte) error {
	for i, name := range healthNames {
		if string(text) == name {
			*h = Health(i)
			return nil
		}
	}
	return fmt.Errorf("discovery: health %q: want passing, warning, critical or maintenance", text)
}
