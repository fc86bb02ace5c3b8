package consul

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/surecall/surecall/discovery"
)

// decoded is what an answer says.
type decoded struct {
	entries   int                  // how many the answer had
	instances []discovery.Instance // the usable ones of any health, sorted by ID
	problems  []discovery.Problem
}

// candidate is an instance and what decides between two of the same ID.
type candidate struct {
	discovery.Instance
	node             string
	created, updated uint64
}

// decode makes instances of Consul's answer. It never fails: what cannot be used is
// skipped and told as a problem.
func decode(e entries, q discovery.Query) decoded {
	d := decoded{entries: len(e.list)}
	if e.mended != "" {
		d.problems = append(d.problems, discovery.Problem{Instance: q.Service, What: e.mended})
	}
	candidates := make([]candidate, 0, len(e.list))
	for i := range e.list {
		c, problem := instance(&e.list[i], q)
		if problem != nil {
			d.problems = append(d.problems, discovery.Problem{Instance: label(&e.list[i]), What: problem.Error()})
		}
		if c.Address != "" {
			candidates = append(candidates, c)
		}
	}
	unique, problems := distinct(candidates)
	d.problems = append(d.problems, problems...)
	d.instances, problems = discovery.Sanitize(unique)
	d.problems = append(d.problems, problems...)
	slices.SortFunc(d.instances, func(a, b discovery.Instance) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(d.problems, func(a, b discovery.Problem) int {
		return cmp.Or(strings.Compare(a.Instance, b.Instance), strings.Compare(a.What, b.What))
	})
	return d
}

// label names an entry for a problem.
func label(e *entry) string {
	return strings.ToValidUTF8(cmp.Or(e.Service.ID, e.Service.Service, e.Node.Node, "(no ID)"), "\uFFFD")
}

// instance makes an instance of an entry. The address is empty if it cannot be used;
// a problem without that is one that was mended.
func instance(e *entry, q discovery.Query) (candidate, error) {
	address, err := address(e, q)
	if err != nil {
		return candidate{}, err
	}
	s := &e.Service
	c := candidate{node: e.Node.Node, created: s.CreateIndex, updated: s.ModifyIndex}
	c.Instance = discovery.Instance{
		ID:          cmp.Or(s.ID, address),
		Incarnation: s.Meta[metaIncarnation],
		Service:     cmp.Or(s.Service, q.Service),
		Address:     address,
		ServerName:  s.Meta[metaServerName],
		Tags:        s.Tags,
		Meta:        s.Meta,
	}
	if c.Incarnation == "" && s.CreateIndex > 0 {
		c.Incarnation = strconv.FormatUint(s.CreateIndex, 10)
	}
	c.Region, c.Zone = place(e)
	var unknown, odd error
	c.Health, unknown = health(e.Checks)
	c.Weight, odd = weight(s, c.Health)
	c.Meta = visible(s.Meta)
	return c, errors.Join(unknown, odd)
}

// address returns where the instance listens: the tagged address or named port that
// the query asks for, else the socket, else what kratos puts under "grpc", else the
// service's own address, else the node's.
func address(e *entry, q discovery.Query) (string, error) {
	s := &e.Service
	host, port := cmp.Or(s.Address, e.Node.Address), s.Port
	tagged, hasTag := s.TaggedAddresses[q.TaggedAddress]
	nodeTagged, hasNodeTag := e.Node.TaggedAddresses[q.TaggedAddress]
	grpc := s.TaggedAddresses["grpc"].Address
	switch {
	case q.TaggedAddress != "" && hasTag:
		host, port = endpointOf(tagged)
	case q.TaggedAddress != "" && hasNodeTag && s.Address == "":
		host = nodeTagged
	case q.TaggedAddress != "":
		return "", fmt.Errorf("has no tagged address %q: skipped", q.TaggedAddress)
	case q.Port == "" && s.SocketPath != "":
		return "unix:" + s.SocketPath, nil
	case q.Port == "" && strings.HasPrefix(grpc, "grpc"):
		host, port = endpointOf(s.TaggedAddresses["grpc"])
	}
	if q.Port != "" {
		i := slices.IndexFunc(s.Ports, func(p namedPort) bool { return p.Name == q.Port })
		if i < 0 {
			return "", fmt.Errorf("has no port named %q: skipped", q.Port)
		}
		port = s.Ports[i].Port
	} else if port == 0 {
		if i := slices.IndexFunc(s.Ports, func(p namedPort) bool { return p.Default }); i >= 0 {
			port = s.Ports[i].Port
		}
	}
	if ip, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(ip, "]") // JoinHostPort adds them
	}
	address := net.JoinHostPort(host, strconv.Itoa(port))
	if err := discovery.CheckAddress(address); err != nil {
		return "", fmt.Errorf("address %.80q: %w: skipped", address, err)
	}
	return address, nil
}

// endpointOf reads a tagged address, which may be a URL ("grpc://10.0.0.1:9000").
func endpointOf(t taggedAddress) (string, int) {
	if !strings.Contains(t.Address, "://") {
		return t.Address, t.Port
	}
	u, err := url.Parse(t.Address)
	if err != nil {
		return "", 0
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		port = t.Port
	}
	return u.Hostname(), port
}

// place returns region and zone: the service's locality, the node's, or meta.
func place(e *entry) (region, zone string) {
	for _, l := range []*locality{e.Service.Locality, e.Node.Locality} {
		if l != nil && (l.Region != "" || l.Zone != "") {
			return l.Region, l.Zone
		}
	}
	for _, meta := range []map[string]string{e.Service.Meta, e.Node.Meta} {
		if meta["region"] != "" || meta["zone"] != "" {
			return meta["region"], meta["zone"]
		}
	}
	return "", ""
}

// distinct settles IDs that occur twice: Consul keeps them unique per agent only.
//
//	same address      one registration seen twice: the healthiest, then the newest stays
//	one not usable    the instance moved: the usable one stays
//	both usable       two instances: the older keeps the ID, the other becomes "ID@node"
func distinct(all []candidate) ([]discovery.Instance, []discovery.Problem) {
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), cmp.Compare(a.Health, b.Health),
			-cmp.Compare(a.updated, b.updated), strings.Compare(a.node, b.node))
	})
	kept := make([]discovery.Instance, 0, len(all))
	var problems []discovery.Problem
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].ID == all[0].ID {
			n++
		}
		same, problem := settle(all[:n:n])
		for _, c := range same {
			kept = append(kept, c.Instance)
		}
		if problem != "" {
			problems = append(problems, discovery.Problem{Instance: all[0].ID, What: problem})
		}
		all = all[n:]
	}
	return kept, problems
}

// settle applies the table of distinct to the candidates of one ID, best first.
func settle(same []candidate) ([]candidate, string) {
	if len(same) == 1 {
		return same, ""
	}
	var kept []candidate
	for _, c := range same {
		stale := len(kept) > 0 && c.Health > discovery.Warning
		seen := slices.ContainsFunc(kept, func(k candidate) bool { return k.Address == c.Address })
		if !stale && !seen {
			kept = append(kept, c)
		}
	}
	slices.SortStableFunc(kept, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.created, b.created), strings.Compare(a.node, b.node), strings.Compare(a.Address, b.Address))
	})
	id := same[0].ID
	what := fmt.Sprintf("ID is registered %d times: %s used", len(same), kept[0].Address)
	for i := 1; i < len(kept); i++ {
		kept[i].ID = id + "@" + cmp.Or(kept[i].node, kept[i].Address)
		what += fmt.Sprintf(", %s used as %q", kept[i].Address, kept[i].ID)
	}
	return kept, what
}
