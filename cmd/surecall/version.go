package main

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
)

func runVersion(_ context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && isHelp(args[0]) {
		fmt.Fprintln(stdout, "usage: surecall version")
		return 0
	}
	if len(args) > 0 {
		fmt.Fprintln(stderr, "usage: surecall version")
		return badUsage
	}
	version, built := "(unknown)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version, built = info.Main.Version, info.GoVersion
	}
	fmt.Fprintln(stdout, "surecall", version, built)
	return 0
}
