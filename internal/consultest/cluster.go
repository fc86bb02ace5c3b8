package consultest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// ClusterOptions say what a cluster is made of.
type ClusterOptions struct {
	Datacenter string // default "dc1"
	Servers    int    // default 3
	Clients    int    // agents that are no servers; default 1
	// Net is the third number of the addresses 127.0.Net.1 and on, one for each agent.
	// Clusters that run at the same time need different ones. Default 1, at most 254.
	Net int
	// Config and Token are as in [Options], for each agent.
	Config map[string]any
	Token  string
}

// Cluster is servers that elect a leader among them, and the client agents beside
// them. Its methods are not safe for concurrent use.
type Cluster struct {
	Datacenter string
	Servers    []*Agent
	Clients    []*Agent
}

// NewClusters starts one cluster for each of options, WAN-joined if there are several,
// and returns when every agent answers, knows a leader, and, if joined, finds all
// datacenters. Their files are in dir.
func NewClusters(bin, dir string, options ...ClusterOptions) ([]*Cluster, error) {
	clusters := make([]*Cluster, len(options))
	for n, o := range options {
		c, err := newCluster(bin, dir, o)
		if err != nil {
			return nil, err
		}
		clusters[n] = c
	}
	for _, c := range clusters {
		for _, other := range clusters {
			if other != c {
				c.joinWAN(other)
			}
		}
	}
	for _, c := range clusters {
		if err := c.launch(); err != nil {
			stop(clusters)
			return nil, err
		}
	}
	for _, c := range clusters {
		if err := errors.Join(c.await(), c.finds(clusters)); err != nil {
			stop(clusters)
			return nil, err
		}
	}
	return clusters, nil
}

func newCluster(bin, dir string, o ClusterOptions) (*Cluster, error) {
	if o.Datacenter == "" {
		o.Datacenter = "dc1"
	}
	if o.Servers == 0 {
		o.Servers = 3
	}
	if o.Clients == 0 {
		o.Clients = 1
	}
	if o.Net == 0 {
		o.Net = 1
	}
	c := &Cluster{Datacenter: o.Datacenter}
	for n := range o.Servers + o.Clients {
		r := role{
			kind: server, name: fmt.Sprintf("%s-server-%d", o.Datacenter, n+1),
			ip: fmt.Sprintf("127.0.%d.%d", o.Net, n+1), datacenter: o.Datacenter, servers: o.Servers,
		}
		if n >= o.Servers {
			r.kind, r.name = client, fmt.Sprintf("%s-client-%d", o.Datacenter, n+1-o.Servers)
		}
		a := &Agent{bin: bin, dir: filepath.Join(dir, r.name), options: Options{Config: o.Config, Token: o.Token, role: r}}
		if err := os.MkdirAll(a.dir, 0o700); err != nil {
			return nil, fmt.Errorf("consultest: %w", err)
		}
		if err := a.reserve(); err != nil {
			return nil, err
		}
		if r.kind == server {
			c.Servers = append(c.Servers, a)
		} else {
			c.Clients = append(c.Clients, a)
		}
	}
	for _, a := range c.Agents() {
		for _, s := range c.Servers {
			a.options.role.join = append(a.options.role.join, s.address(s.ports.lan))
		}
	}
	return c, nil
}

func (c *Cluster) joinWAN(other *Cluster) {
	for _, a := range c.Servers {
		for _, s := range other.Servers {
			a.options.role.joinWAN = append(a.options.role.joinWAN, s.address(s.ports.wan))
		}
	}
}

// Agents returns all agents, the servers first.
func (c *Cluster) Agents() []*Agent { return append(append([]*Agent(nil), c.Servers...), c.Clients...) }

// launch starts every agent that does not run.
func (c *Cluster) launch() error {
	for _, a := range c.Agents() {
		if a.Running() {
			continue
		}
		if err := a.configure(); err != nil {
			return err
		}
		if err := a.launch(); err != nil {
			return err
		}
	}
	return nil
}

// await waits until all agents are usable.
func (c *Cluster) await() error {
	for _, a := range c.Agents() {
		if err := a.await(); err != nil {
			return err
		}
	}
	return nil
}

// Revive starts every agent that was killed, with its data, and waits until all are
// usable. Wait 10 s more before the next server is killed: so long it takes until the
// cluster can do without it.
func (c *Cluster) Revive() error { return errors.Join(c.launch(), c.await()) }

// Leader returns the server that leads, as an agent that is alive says.
func (c *Cluster) Leader() (*Agent, error) {
	failed := errors.New("consultest: no agent runs")
	for _, a := range c.Agents() {
		if !a.Running() {
			continue
		}
		address, err := a.leader()
		if err != nil {
			failed = err
			continue
		}
		for _, s := range c.Servers {
			if s.address(s.ports.server) == address {
				return s, nil
			}
		}
		failed = fmt.Errorf("consultest: %s says that %q leads: want one of the cluster's servers", a.options.role.name, address)
	}
	return nil, failed
}

func (a *Agent) leader() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	api, err := a.Client()
	if err != nil {
		return "", err
	}
	address, err := api.Status().LeaderWithQueryOptions(a.query(ctx))
	return strings.TrimSpace(address), err
}

// finds waits until every agent finds the leaders of all datacenters.
func (c *Cluster) finds(clusters []*Cluster) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	for _, a := range c.Agents() {
		client, err := a.Client()
		if err != nil {
			return err
		}
		for _, other := range clusters {
			err := poll(ctx, func() error {
				q := a.query(ctx)
				q.Datacenter = other.Datacenter
				_, _, err := client.Catalog().Nodes(q)
				return err
			})
			if err != nil {
				return fmt.Errorf("consultest: %s finds no datacenter %s: %w", a.options.role.name, other.Datacenter, err)
			}
		}
	}
	return nil
}

func (a *Agent) query(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{}).WithContext(ctx)
}

// poll calls try until it succeeds or ctx ends.
func poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// Stop ends all agents. A second call does nothing.
func (c *Cluster) Stop() {
	for _, a := range c.Agents() {
		a.Stop()
	}
}

// LogTails returns the ends of all agents' logs.
func (c *Cluster) LogTails() string {
	var b strings.Builder
	for _, a := range c.Agents() {
		fmt.Fprintf(&b, "%s:\n%s\n", a.options.role.name, a.LogTail())
	}
	return b.String()
}

func stop(clusters []*Cluster) {
	for _, c := range clusters {
		c.Stop()
	}
}
