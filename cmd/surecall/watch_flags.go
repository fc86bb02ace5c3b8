package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// viewing is what watch and list are told to look at, and how.
type viewing struct {
	target        string
	tls, insecure bool
	ca            string
	cert, key     string
	serverName    string
	healthService string
	tokenFile     string
	probe         time.Duration
	interval      time.Duration // of watch
	timeout       time.Duration // of list
	json          bool
}

// defaultProbe is how long an instance may be silent before it is probed: one that hangs
// would look well otherwise, since nobody calls it here.
const defaultProbe = 2 * time.Second

// parseView reads the flags that watch and list share. If it returns false the command
// ends with code.
func parseView(name, usage string, args []string, stdout, stderr io.Writer) (o *viewing, code int, ok bool) {
	o = &viewing{}
	flags := flag.NewFlagSet("surecall "+name, flag.ContinueOnError)
	flags.BoolVar(&o.tls, "tls", false, "connect with TLS, trusting the system's authorities")
	flags.StringVar(&o.ca, "ca", "", "`file` of the authorities that certificates must come from (implies -tls)")
	flags.StringVar(&o.cert, "cert", "", "`file` of the client's certificate (implies -tls)")
	flags.StringVar(&o.key, "key", "", "`file` of its key")
	flags.StringVar(&o.serverName, "server-name", "", "the `name` that certificates must have (implies -tls); default as the clients expect")
	flags.BoolVar(&o.insecure, "insecure", false, "connect in plaintext, which is the default, and say nothing of it")
	flags.StringVar(&o.healthService, "health-service", "", "the `service` whose gRPC health is watched; default the server's")
	flags.StringVar(&o.tokenFile, "token-file", "", "`file` of the ACL token for Consul; default as the target or the environment say")
	flags.DurationVar(&o.probe, "probe", defaultProbe, "probe an instance that was silent for so long, to find those that hang; 0: never")
	if name == "watch" {
		flags.DurationVar(&o.interval, "interval", defaultInterval, "between two looks; what a target's instances do is shown at once")
	} else {
		flags.DurationVar(&o.timeout, "timeout", defaultSettle, "how long to wait for an answer, and for connections to be made or refused")
	}
	flags.BoolVar(&o.json, "json", false, jsonUsage[name])
	if o.target, code, ok = targetOf(flags, usage, args, stdout, stderr); !ok {
		return nil, code, false
	}
	if err := o.validate(name, flags); err != nil {
		return nil, fail(stderr, badUsage, err), false
	}
	return o, 0, true
}

var jsonUsage = map[string]string{
	"watch": "print a line of JSON each time that a state changes",
	"list":  "print one JSON document",
}

// validate reports all that is wrong at once.
func (o *viewing) validate(name string, flags *flag.FlagSet) error {
	var errs []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(o.target == "", "target is empty: want consul:///SERVICE, or the address of a status page")
	wrong(o.insecure && o.secure(), "-insecure is given with -tls, -ca, -cert or -server-name: want one or the other")
	wrong((o.cert == "") != (o.key == ""), "-cert %q and -key %q: want both or neither", o.cert, o.key)
	wrong(o.probe != 0 && (o.probe < minInterval || o.probe > maxInterval), "-probe %v: want 0 or %v to %v", o.probe, minInterval, maxInterval)
	wrong(name == "watch" && (o.interval < minInterval || o.interval > maxInterval), "-interval %v: want %v to %v", o.interval, minInterval, maxInterval)
	wrong(name == "list" && (o.timeout < minInterval || o.timeout > maxInterval), "-timeout %v: want %v to %v", o.timeout, minInterval, maxInterval)
	if page, ok := pageAddress(o.target); ok {
		flags.Visit(func(f *flag.Flag) {
			wrong(f.Name == "insecure" || f.Name == "health-service" || f.Name == "probe" || f.Name == "token-file",
				"-%s has no meaning for the status page of a process, whose clients are as they are", f.Name)
		})
		wrong(o.secure() && strings.HasPrefix(page, "http:"), "the status page is asked for by http: want https with -tls, -ca, -cert or -server-name")
	} else {
		wrong(o.tokenFile != "" && !strings.HasPrefix(o.target, "consul:"), "-token-file is for Consul, and the target is not: want consul:///SERVICE")
	}
	return errors.Join(errs...)
}

// secure reports whether one of the flags asks for TLS.
func (o *viewing) secure() bool { return o.tls || o.ca != "" || o.cert != "" || o.serverName != "" }

// tlsConfig reads the files that the flags name.
func (o *viewing) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.serverName}
	if o.ca != "" {
		pem, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, fmt.Errorf("-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("-ca %s: has no certificate in PEM", o.ca)
		}
	}
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return nil, fmt.Errorf("-cert, -key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// open returns what the target stands for.
func (o *viewing) open() (feed, error) {
	if page, ok := pageAddress(o.target); ok {
		return openPage(page, o)
	}
	return openClient(o)
}

// dialled is the target that the client is given.
func (o *viewing) dialled() string {
	if o.tokenFile == "" {
		return o.target
	}
	mark := "?"
	if strings.Contains(o.target, mark) {
		mark = "&"
	}
	return o.target + mark + "token-file=" + url.QueryEscape(o.tokenFile)
}

// pageAddress returns the URL of a status page if that is what target is: it begins with
// http or https, or is "host:port/path", which no target of a client is.
func pageAddress(target string) (page string, ok bool) {
	if strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://") {
		return target, true
	}
	authority, _, slash := strings.Cut(target, "/")
	host, port, err := net.SplitHostPort(authority)
	if _, isPort := strconv.ParseUint(port, 10, 16); !slash || err != nil || isPort != nil {
		return "", false
	}
	if host == "" {
		target = "localhost" + target
	}
	return "http://" + target, true
}
