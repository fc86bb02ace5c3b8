package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
)

// targetOf reads the flags of a command, which may stand before its one target and after
// it. If it returns false the command ends with code.
func targetOf(flags *flag.FlagSet, usage string, args []string, stdout, stderr io.Writer) (target string, code int, ok bool) {
	help := func(w io.Writer) {
		fmt.Fprint(w, usage)
		flags.SetOutput(w)
		flags.PrintDefaults()
	}
	flags.SetOutput(io.Discard) // what is wrong is told below, in one line
	var targets []string
	for len(args) > 0 {
		err := flags.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			help(stdout) // it is what was asked for
			return "", 0, false
		}
		if err != nil {
			return "", fail(stderr, badUsage, fmt.Errorf("%w; %s -h lists the flags", err, flags.Name())), false
		}
		if args = flags.Args(); len(args) > 0 {
			targets, args = append(targets, args[0]), args[1:]
		}
	}
	switch len(targets) {
	case 0:
		help(stderr)
		return "", badUsage, false
	case 1:
		return targets[0], 0, true
	}
	return "", fail(stderr, badUsage, fmt.Errorf("%d targets, %q: want one; %s -h says more", len(targets), targets, flags.Name())), false
}
