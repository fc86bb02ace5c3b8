package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

// registration looks what package discovery makes of the registrations: that, and nothing
// else, is what a client calls.
func (w *walk) registration(ctx context.Context) bool {
	snapshot, err := first(ctx, w.source, w.query)
	if err == nil {
		err = snapshot.Err
	}
	if err != nil {
		return w.fault("registration", "no instances can be had: "+problemsOf(err), "correct what the line names; package discovery says the same to every client")
	}
	w.instances = w.query.Accept.Select(snapshot.Instances)
	skipped, mended := w.problems(snapshot.Problems)
	if len(w.instances) == 0 {
		if len(skipped) > 0 {
			return w.fault("registration", "no instance can be used: "+skipped[0], remedyOf(skipped[0]))
		}
		why := "there is none"
		if w.client != nil {
			why = w.explain(ctx)
		}
		return w.fault("registration", "no instance is left: "+why, "register one that the target means")
	}
	before := len(w.report.Steps)
	if len(skipped) > 0 {
		w.fault("registration", fmt.Sprintf("%s cannot be used: %s", count(len(skipped), "instance"), skipped[0]), remedyOf(skipped[0]))
	}
	for _, m := range mended[:min(len(mended), 3)] {
		w.warn("registration", m, remedyOf(m))
	}
	if snapshot.Doubt != nil {
		w.warn("registration", "the answer is doubted: "+problemsOf(snapshot.Doubt), "run this again; if it stays, look at the log of the agent")
	}
	w.misplaced()
	w.twice()
	if len(w.report.Steps) == before {
		w.ok("registration", "%s: %s", count(len(w.instances), "address"), some(addresses(w.instances)))
	}
	return len(w.instances) > 0
}

// first returns the first snapshot of q.
func first(ctx context.Context, source discovery.Source, q discovery.Query) (discovery.Snapshot, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q.Failover = nil // a source watches one datacenter at a time
	var got discovery.Snapshot
	var once sync.Once
	seen := false
	err := source.Watch(ctx, q, func(s discovery.Snapshot) {
		once.Do(func() { got, seen = s, true })
		cancel()
	})
	if seen {
		return got, nil
	}
	return got, err
}

// problems sorts what was wrong with registrations that are meant and healthy.
func (w *walk) problems(all []discovery.Problem) (skipped, mended []string) {
	for _, p := range all {
		if w.client != nil && !slices.ContainsFunc(w.entries, func(e *api.ServiceEntry) bool {
			return e.Service.ID == p.Instance || label(e) == p.Instance || e.Service.Service == p.Instance
		}) {
			continue // of one that is not used anyway
		}
		text := short(p.String())
		if strings.HasSuffix(p.What, "skipped") {
			skipped = append(skipped, text)
		} else {
			mended = append(mended, text)
		}
	}
	return skipped, mended
}

// remedyOf is what to do about a problem of package discovery.
func remedyOf(problem string) string {
	switch {
	case strings.Contains(problem, "no port named"):
		return "correct port in the target, or register a port of that name"
	case strings.Contains(problem, "no tagged address"):
		return "correct address in the target, or register a tagged address of that name"
	case strings.Contains(problem, `port "0"`):
		return "register the port that the gRPC server listens on: with a listener on port 0, ask it for its address first"
	case strings.Contains(problem, "address"):
		return "register an address of the form host and port that callers can reach"
	case strings.Contains(problem, "weight"):
		return "register a whole number from 1 to 65535 as the weight"
	case strings.Contains(problem, "registered"):
		return "give each instance an ID of its own: name, host and port, for example"
	}
	return "correct the registration"
}

// misplaced tells of addresses that mean something else to a caller than to who
// registered them, and takes their instances out.
func (w *walk) misplaced() {
	var nowhere, local, http []string
	for _, e := range w.entries {
		i := w.instanceOf(e)
		if i < 0 {
			continue
		}
		address := w.instances[i].Address
		what := fmt.Sprintf("%s at %s", label(e), address)
		ip := ipOf(address)
		switch node := ipOf(net.JoinHostPort(e.Node.Address, "1")); {
		case ip.IsUnspecified():
			nowhere = append(nowhere, what)
		case ip.IsLoopback() && node.IsValid() && !node.IsLoopback():
			local = append(local, fmt.Sprintf("%s on node %s (%s)", what, e.Node.Node, e.Node.Address))
		case onlyHTTP(e, address):
			http = append(http, what)
		default:
			continue
		}
		w.instances = slices.Delete(w.instances, i, i+1)
	}
	tell := func(found []string, what, remedy string) {
		if len(found) > 0 {
			w.fault("registration", fmt.Sprintf("%s %s: %s", count(len(found), "instance"), what, some(found)), remedy)
		}
	}
	tell(nowhere, "registered with an address that means every interface, and callers dial themselves",
		"register the address that others reach, or none: then Consul's node address is used")
	tell(local, "registered with a loopback address from another host, and callers dial themselves",
		"register the address that others reach, or none: then Consul's node address is used")
	tell(http, "registered with the port of its HTTP server: kratos put no grpc address there",
		"give kratos.New the gRPC server too (kratos.Server), or an endpoint of scheme grpc (kratos.Endpoint)")
}

// instanceOf is the index of what was made of e, or -1. An ID that several nodes have is
// made unique.
func (w *walk) instanceOf(e *api.ServiceEntry) int {
	for _, id := range []string{e.Service.ID + "@" + e.Node.Node, e.Service.ID} {
		if i := slices.IndexFunc(w.instances, func(i discovery.Instance) bool { return i.ID == id }); i >= 0 {
			return i
		}
	}
	return -1
}

// onlyHTTP reports whether a registration is one of kratos that has only its HTTP server.
func onlyHTTP(e *api.ServiceEntry, address string) bool {
	tagged, ok := e.Service.TaggedAddresses["http"]
	_, grpc := e.Service.TaggedAddresses["grpc"]
	_, port, _ := net.SplitHostPort(address)
	return ok && !grpc && strings.HasPrefix(tagged.Address, "http") && port == fmt.Sprint(tagged.Port)
}

func ipOf(address string) netip.Addr {
	host, _, _ := net.SplitHostPort(address)
	ip, _ := netip.ParseAddr(strings.Trim(host, "[]"))
	return ip.Unmap()
}

// twice tells of several registrations of one address.
func (w *walk) twice() {
	ids := map[string][]string{}
	for _, i := range w.instances {
		ids[i.Address] = append(ids[i.Address], i.ID)
	}
	var again []string
	for address, list := range ids {
		if len(list) > 1 {
			again = append(again, fmt.Sprintf("%s is %s", address, some(list)))
		}
	}
	if len(again) > 0 {
		slices.Sort(again)
		w.warn("registration", fmt.Sprintf("%s registered more than once, and gets as many shares: %s", count(len(again), "address"), some(again)),
			"deregister the IDs of processes that are gone (consul services deregister -id=ID), and keep an instance's ID over restarts")
	}
}

func addresses(set []discovery.Instance) []string {
	list := make([]string, len(set))
	for i := range set {
		list[i] = set[i].Address
	}
	return list
}
