package main

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/credentials"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/status"
)

// clientFeed is a client of the target, which makes no calls.
type clientFeed struct {
	client *surecall.Client
	wake   chan struct{} // holds one value: something happened
	how    string
	// assumed: nobody said whether the instances want TLS.
	assumed bool
	// foreign: gRPC's own resolver finds the instances, and does not say why it finds none.
	foreign bool
}

func openClient(o *viewing) (feed, error) {
	f := &clientFeed{wake: make(chan struct{}, 1), how: "a client that only looks: it makes no calls"}
	f.foreign = !strings.HasPrefix(o.target, "consul:") && !strings.HasPrefix(o.target, "static:")
	options := []surecall.Option{
		surecall.WithHealthService(o.healthService),
		surecall.WithEvents(func(event.Event) {
			select {
			case f.wake <- struct{}{}:
			default: // it is to read already
			}
		}),
	}
	if o.probe > 0 {
		options = append(options, surecall.WithActiveProbe(o.probe))
	}
	if o.secure() {
		config, err := o.tlsConfig()
		if err != nil {
			return nil, err
		}
		options = append(options, surecall.WithTransportCredentials(credentials.NewTLS(config)))
	} else {
		options = append(options, surecall.WithInsecure())
		f.assumed = !o.insecure
	}
	var err error
	if f.client, err = surecall.NewClient(o.dialled(), options...); err != nil {
		return nil, err
	}
	f.client.Conn().Connect()
	return f, nil
}

func (f *clientFeed) read(context.Context) (view, error) {
	s := f.client.Status()
	v := view{all: []status.Status{s}, how: f.how}
	if len(s.Instances) > 0 {
		v.trouble, v.settled = f.trouble(s.Instances), settles(&s)
		return v, nil
	}
	refusal := f.refusal(s.Service)
	v.trouble, v.settled = refusal.Error(), s.Source.Trusted && refusal.LastErr != nil
	switch {
	case f.foreign:
		v.trouble = "gRPC finds no instance of this target: does its name resolve?"
	case refusal.LastErr == nil && s.Source.Why != "":
		v.trouble = s.Source.Why
	}
	return v, nil
}

// settles reports whether every instance is connected, or known not to be, and the source
// is trusted, which it may become just after instances have come.
func settles(s *status.Status) bool {
	for i := range s.Instances {
		if s.Instances[i].State == string(event.Connecting) {
			return false
		}
	}
	return s.Source.Trusted || !s.Source.Answered // gRPC's own resolvers say nothing
}

// trouble says that no instance is eligible, if so.
func (f *clientFeed) trouble(all []status.Instance) string {
	plaintext := false
	for i := range all {
		if all[i].Eligible {
			return ""
		}
		// What gRPC says of a server that hangs up on plaintext: for a hint, it may be guessed.
		plaintext = plaintext || f.assumed && strings.Contains(all[i].Why, "server preface")
	}
	if plaintext {
		return "no instance is eligible, in plaintext: if they want TLS, give -tls or -ca; else -insecure"
	}
	return "no instance is eligible"
}

// refusal is what a call would be told now: of a service without instances it says, a
// little after the source's answer, what the source knows of it.
func (f *clientFeed) refusal(service string) *surecall.Rejection {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	var r *surecall.Rejection
	if err := f.client.WaitReady(over); errors.As(err, &r) {
		return r
	}
	return &surecall.Rejection{Reason: surecall.ErrNoInstance, Service: service}
}

func (f *clientFeed) changed() <-chan struct{} { return f.wake }

func (f *clientFeed) close() { _ = f.client.Close() }
