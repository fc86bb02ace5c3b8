package lifecycle

import (
	"fmt"
	"net"
	"strings"
)

// advertised returns the address that callers dial. want is the configured one, on is
// what the server listens on, and local lists the machine's addresses.
func advertised(want string, on net.Addr, local func() ([]net.Addr, error)) (string, error) {
	host, port := "", ""
	if tcp, ok := on.(*net.TCPAddr); ok {
		h, p, err := net.SplitHostPort(tcp.String())
		if err != nil {
			return "", err
		}
		host, port = h, p
		if tcp.IP == nil {
			host = "::"
		}
	}
	switch {
	case want != "":
		if h, p, err := net.SplitHostPort(want); err == nil && p == "0" && port != "" {
			return net.JoinHostPort(h, port), nil
		}
		return want, nil
	case on.Network() == "unix":
		return "unix:" + on.String(), nil
	case port == "":
		return "", fmt.Errorf("config Address is empty, and cannot be told from a listener on %s %q: want the one that callers dial", on.Network(), on)
	case !net.ParseIP(host).IsUnspecified(): // one with a zone is no IP to ParseIP, and specified
		return net.JoinHostPort(host, port), nil
	}
	addrs, err := local()
	if err != nil {
		return "", fmt.Errorf("config Address is empty: the machine's addresses: %w", err)
	}
	candidates := reachable(addrs)
	if len(candidates) != 1 {
		return "", fmt.Errorf("config Address is empty, and the server listens on all of the machine's addresses [%s]: want the one that callers dial",
			strings.Join(candidates, " "))
	}
	return net.JoinHostPort(candidates[0], port), nil
}

// reachable returns those of a machine's addresses that others may dial; the IPv6 ones
// only if there are no others.
func reachable(addrs []net.Addr) []string {
	var v4, v6 []string
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			v4 = append(v4, n.IP.String())
		default:
			v6 = append(v6, n.IP.String())
		}
	}
	if len(v4) > 0 {
		return v4
	}
	return v6
}
