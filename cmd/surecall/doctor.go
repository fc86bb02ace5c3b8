package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"

	"github.com/surecall/surecall/cmd/surecall/internal/doctor"
)

const doctorUsage = `usage: surecall doctor [flags] TARGET

Says why a service cannot be called, and what to do. TARGET is what a client is given,
for example consul:///orders, 'consul:///orders?tag=v2', static:///host:port or
dns:///host:port. The exit status is 0 if there is no fault, 1 if there is one, 2 if the
command is not used as it should be.

`

func runDoctor(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o doctor.Options
	flags := flag.NewFlagSet("surecall doctor", flag.ContinueOnError)
	flags.BoolVar(&o.TLS, "tls", false, "expect TLS of the instances")
	flags.BoolVar(&o.Plaintext, "insecure", false, "expect plaintext of the instances; the default takes either, and says which")
	flags.StringVar(&o.CAFile, "ca", "", "`file` of the authorities that certificates must come from (implies -tls)")
	flags.StringVar(&o.CertFile, "cert", "", "`file` of the client's certificate (implies -tls)")
	flags.StringVar(&o.KeyFile, "key", "", "`file` of its key")
	flags.StringVar(&o.ServerName, "server-name", "", "the `name` that certificates must have (implies -tls)")
	flags.StringVar(&o.HealthService, "health-service", "", "the `service` whose gRPC health is asked; default the server's")
	flags.StringVar(&o.TokenFile, "token-file", "", "`file` of the ACL token for Consul; default as the target or the environment say")
	flags.DurationVar(&o.Timeout, "timeout", doctor.DefaultTimeout, "for each step on the network")
	asJSON := flags.Bool("json", false, "print one JSON document at the end")
	target, code, ok := targetOf(flags, doctorUsage, args, stdout, stderr)
	if !ok {
		return code
	}
	o.Target = target
	d, err := doctor.New(o)
	if err != nil {
		return fail(stderr, badUsage, err)
	}
	if *asJSON {
		report := d.Run(ctx, nil)
		out := json.NewEncoder(stdout)
		out.SetIndent("", "  ")
		if err := out.Encode(report); err != nil {
			return fail(stderr, 1, err)
		}
		return report.ExitCode()
	}
	report := d.Run(ctx, func(s doctor.Step) { _, _ = s.WriteTo(stdout) })
	fmt.Fprintf(stdout, "\n%s: %s\n", report.Target, report.Summary())
	return report.ExitCode()
}
