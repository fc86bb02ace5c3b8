// Command surecall looks at services as surecall's clients see them.
//
//	surecall watch [flags] TARGET     shows a service's instances and what changes, live
//	surecall list [flags] TARGET      prints a service's instances once
//	surecall doctor [flags] TARGET    says why a service cannot be called, and what to do
//	surecall version                  prints the version
//	surecall help [COMMAND]           prints this, or the flags of a command
//
// # Watch and list
//
//	go run ./cmd/surecall watch consul:///orders
//	surecall watch http://127.0.0.1:6060/surecall/
//	surecall list -json -ca ca.pem 'consul:///orders?tag=v2' | jq '.clients[0].instances[].state'
//
// Of a client's target, watch and list become a client that makes no calls: it connects to
// every instance, watches its health and probes it each 2 s. It says what can be seen from
// where it runs, and not what another client holds of the instances by its calls. Of a
// status page (surecall.StatusHandler) they show what the clients of that process hold, and
// their calls.
//
// On a terminal the table of watch stays in place, the instances in trouble first, as many
// as there is room for; anywhere else it is printed anew each time that a state changes.
// What registries and servers say is shown with control characters escaped. With -json,
// list prints one document, {"clients": [status.Status, …]}, and watch a line of such each
// time that a state changes.
//
// Nothing is sent that needs protection, so without -tls, -ca, -cert, -server-name or
// -insecure they connect in plaintext, and say so if nobody answers.
//
// The exit status is 0 if an instance is eligible (of watch: when it is interrupted), 1 if
// none is or there is no answer, 2 if the command is not used as it should be.
//
// Flags, before the target or after it, besides those for TLS, -health-service and
// -token-file, which are doctor's:
//
//	-probe DURATION      probe an instance that was silent for so long; 0: never; default 2s
//	-interval DURATION   of watch, between two looks; default 500ms
//	-timeout DURATION    of list, for an answer, and connections to be made or refused; default 3s
//	-json                print JSON
//
// # Doctor
//
//	go run ./cmd/surecall doctor consul:///orders
//	surecall doctor -ca ca.pem 'consul:///orders?tag=v2&dc=eu'
//	surecall doctor -json static:///10.0.0.7:50051
//
// It walks from the target to the answer of each instance: target, agent, leader, token,
// service, query, checks, registration, dial, protocol, tls, auth, draining, health. Each
// step is a line that says ok, warn, FAULT or skip; a fault is named in one line, with the
// remedy in another:
//
//	ok     target        service "orders" of Consul at localhost:8500
//	ok     agent         Consul 1.22.5 at localhost:8500
//	ok     leader        127.0.0.1:8300 leads
//	FAULT  token         the token from CONSUL_HTTP_TOKEN lacks node:read: Consul answers an empty list, though it knows the service
//	       → remedy      give it a policy that says service "orders" { policy = "read" } …
//	skip   service       not reached
//
// Consul is found as the clients find it: in the target, else in the CONSUL_ environment.
// Besides consul the targets may be of static and dns. Nothing is changed: not in Consul,
// where it reads, nor at the instances, which are asked for their gRPC health.
//
// The exit status is 0 if there is no fault (there may be warnings), 1 if there is one,
// 2 if the command is not used as it should be.
//
// Flags:
//
//	-tls                    expect TLS of the instances
//	-insecure               expect plaintext of them; the default takes either, and says which
//	-ca FILE                the authorities that certificates must come from (implies -tls)
//	-cert FILE, -key FILE   the client's certificate (implies -tls)
//	-server-name NAME       the name that certificates must have (implies -tls)
//	-health-service NAME    the service whose gRPC health is asked; default the server's
//	-token-file FILE        the ACL token for Consul; default as the target or the environment say
//	-timeout DURATION       for each step on the network; default 5s
//	-json                   print one JSON document at the end
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// command is one of the program's. run returns the exit status.
type command struct {
	name, usage, does string
	run               func(ctx context.Context, args []string, stdout, stderr io.Writer) int
}

// commands are all but help.
var commands = []command{
	{"watch", "watch [flags] TARGET", "shows a service's instances and what changes, live", runWatch},
	{"list", "list [flags] TARGET", "prints a service's instances once", runList},
	{"doctor", "doctor [flags] TARGET", "says why a service cannot be called, and what to do", runDoctor},
	{"version", "version", "prints the version", runVersion},
}

// badUsage is the exit status of a command that is not used as it should be.
const badUsage = 2

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run does what args say.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		help(stderr)
		return badUsage
	}
	name, rest := args[0], args[1:]
	if isHelp(name) {
		if len(rest) == 0 || isHelp(rest[0]) {
			help(stdout)
			return 0
		}
		name, rest = rest[0], []string{"-h"}
	}
	for _, c := range commands {
		if c.name == name {
			return c.run(ctx, rest, stdout, stderr)
		}
	}
	fmt.Fprintf(stderr, "surecall: unknown command %q\n\n", name)
	help(stderr)
	return badUsage
}

func isHelp(arg string) bool { return slices.Contains([]string{"help", "-h", "-help", "--help"}, arg) }

func help(w io.Writer) {
	fmt.Fprint(w, "surecall looks at services as surecall's clients see them.\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  surecall %-26s %s\n", c.usage, c.does)
	}
	fmt.Fprintf(w, "  surecall %-26s %s\n\n", "help [COMMAND]", "prints this, or the flags of a command")
	fmt.Fprint(w, "TARGET is what a client is given: consul:///orders, static:///host:port, dns:///host:port.\n")
	fmt.Fprint(w, "Of watch and list it may be the address of a process's status page too.\n")
}
