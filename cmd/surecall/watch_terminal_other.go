//go:build !(linux || darwin || freebsd || netbsd || dragonfly)

package main

import "os"

// sizeOf takes no file for a terminal: the table is printed anew each time that a state
// changes.
func sizeOf(*os.File) (width, height int, ok bool) { return 0, 0, false }

func terminalSignals() []os.Signal { return nil }

func stops(os.Signal) bool { return false }

func continues(os.Signal) bool { return false }

func stopSelf() error { return nil }
