package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/surecall/surecall/cmd/surecall/internal/table"
)

// defaultSettle is how long list waits for connections.
const defaultSettle = 3 * time.Second

const listUsage = `usage: surecall list [flags] TARGET | PAGE

Prints the instances of a service once, a line for each, and a line that counts them.

TARGET and PAGE are as for watch: a client's target, of which list becomes a client that
makes no calls, or the address of the status page of a running process. It prints as soon as
the source is trusted and each instance connected or known not to be, at the latest after
-timeout.

The exit status is 0 if an instance is eligible, 1 if none is or there is no answer, 2 if
the command is not used as it should be.

`

func runList(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, code, ok := parseView("list", listUsage, args, stdout, stderr)
	if !ok {
		return code
	}
	f, err := o.open()
	if err != nil {
		return fail(stderr, badUsage, err)
	}
	defer f.close()
	v, err := settled(ctx, f, o.timeout)
	if err == nil {
		err = printList(o, v, stdout)
	}
	if err == nil {
		err = v.lacking()
	}
	if err != nil {
		return fail(stderr, 1, err)
	}
	return 0
}

// settled reads f until what it says will not be otherwise in a moment.
func settled(ctx context.Context, f feed, timeout time.Duration) (view, error) {
	over := time.NewTimer(timeout)
	defer over.Stop()
	ticker := time.NewTicker(frameInterval)
	defer ticker.Stop()
	for {
		v, err := f.read(ctx)
		if err != nil || v.settled {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, nil
		case <-over.C:
			return v, nil
		case <-ticker.C:
		case <-f.changed():
		}
	}
}

func printList(o *viewing, v view, stdout io.Writer) error {
	if o.json {
		content, err := json.MarshalIndent(document{v.all}, "", " ")
		if err != nil {
			return err
		}
		_, err = io.WriteString(stdout, table.JSON(content)+"\n")
		return err
	}
	_, options := onTerminal(stdout)
	_, err := fmt.Fprint(stdout, table.List(v.all, options))
	return err
}

// lacking says why no instance is eligible, if so.
func (v view) lacking() error {
	for n := range v.all {
		for i := range v.all[n].Instances {
			if v.all[n].Instances[i].Eligible {
				return nil
			}
		}
	}
	if v.trouble != "" {
		return errors.New(v.trouble)
	}
	return errors.New("no instance is eligible")
}
