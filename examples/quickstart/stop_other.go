//go:build !unix

package main

import "context"

// canStop: this system cannot stop a process, so the server's handlers hang instead.
const canStop = false

func (p *process) stop(ctx context.Context) error   { return p.ask(ctx, "hang") }
func (p *process) resume(ctx context.Context) error { return p.ask(ctx, "continue") }
