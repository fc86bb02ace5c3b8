package lifecycle_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

// Two servers, one of which leaves under load: plain gRPC clients, which know nothing of
// marks, health or this package, lose no call.
func TestPlainCallersLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rigs := map[string]*rig{"a": newRig(t, nil), "b": newRig(t, nil)}
		var addresses []resolver.Address
		for name, r := range rigs {
			r.orders.get = func(context.Context) error {
				time.Sleep(7 * time.Millisecond)
				return nil
			}
			r.start()
			addresses = append(addresses, resolver.Address{Addr: name})
		}
		found := manual.NewBuilderWithScheme("test")
		found.InitialState(resolver.State{Addresses: addresses})
		conn, err := grpc.NewClient("test:///orders", grpc.WithResolvers(found),
			grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				return rigs[address].lis.DialContext(ctx)
			}),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		calls := make(chan error, 10_000)
		for range 4 {
			go func() {
				for ctx.Err() == nil {
					_, err := orders.NewOrdersClient(conn).Get(t.Context(), &orders.GetRequest{})
					calls <- err
					time.Sleep(20 * time.Millisecond)
				}
			}()
		}
		time.Sleep(time.Second)
		if err := rigs["a"].life.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		cancel()
		synctest.Wait()
		time.Sleep(time.Second)
		close(calls)
		if len(calls) < 400 {
			t.Errorf("%d calls: want a load", len(calls))
		}
		for err := range calls {
			if err != nil {
				t.Errorf("a call failed: %v", err)
			}
		}
		_ = conn.Close()
		for _, r := range rigs {
			_ = r.conn.Close()
			_ = r.life.Stop(t.Context())
		}
	})
}

// The in-process connection needs no certificate, all others do.
func TestCredentials(t *testing.T) {
	for _, known := range []bool{true, false} {
		server, client := certificate(t)
		inBubble(t, func(_ *rig, c *lifecycle.Config) {
			if known {
				c.Credentials = server
			}
		}, func(t *testing.T, r *rig) {
			if !known {
				r.server = grpc.NewServer(append(r.life.ServerOptions(), grpc.Creds(server))...)
				if err := r.life.Start(t.Context(), r.server); err == nil || !strings.Contains(err.Error(), "Config.Credentials") {
					t.Errorf("error %v: want it to name Config.Credentials", err)
				}
				return
			}
			r.start()
			if _, err := r.get(); status.Code(err) != codes.Unavailable {
				t.Errorf("without TLS: %v", err)
			}
			conn, err := grpc.NewClient("passthrough:///orders", grpc.WithTransportCredentials(client),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.lis.DialContext(ctx) }))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := orders.NewOrdersClient(conn).Get(t.Context(), &orders.GetRequest{}); err != nil {
				t.Errorf("with TLS: %v", err)
			}
			time.Sleep(time.Minute)
			if h := r.entry().Health; h != discovery.Passing {
				t.Errorf("after a minute of heart-beats: %v", h)
			}
		})
	}
}

// certificate makes credentials that are valid at the time of a bubble.
func certificate(t *testing.T) (server, client credentials.TransportCredentials) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"orders"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return credentials.NewServerTLSFromCert(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}),
		credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: "orders"})
}

// extra is a server beside gRPC.
type extra struct {
	ended chan error
	stuck bool
	shut  time.Time
	ctx   error
}

func (e *extra) serve() error { return <-e.ended }

func (e *extra) shutdown(ctx context.Context) error {
	if e.stuck {
		<-ctx.Done()
	}
	e.shut, e.ctx = time.Now(), ctx.Err()
	e.ended <- errors.New("closed")
	return ctx.Err()
}

// Extra servers leave after the calls have, and before gRPC.
func TestExtra(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		e := &extra{stuck: stuck}
		inBubble(t, func(_ *rig, c *lifecycle.Config) {
			e.ended = make(chan error, 1)
			c.Extra = []lifecycle.Extra{{Name: "http", Serve: e.serve, Shutdown: e.shutdown}}
		}, func(t *testing.T, r *rig) {
			r.start()
			began := time.Now()
			if err := r.life.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			want := 2 * time.Second
			if stuck {
				want += 2 * time.Second
			}
			if got := e.shut.Sub(began); got != want || (e.ctx != nil) != stuck {
				t.Errorf("stuck %v: shut after %v (%v), want %v", stuck, got, e.ctx, want)
			}
			if !r.did("extra servers") {
				t.Error("no step")
			}
		})
	}
}

// A server that dies takes all with it, in order.
func TestExtraDies(t *testing.T) {
	boom := errors.New("boom")
	for _, warming := range []bool{false, true} {
		e := &extra{}
		inBubble(t, func(_ *rig, c *lifecycle.Config) {
			e.ended = make(chan error, 2)
			c.Extra = []lifecycle.Extra{{Name: "http", Serve: e.serve, Shutdown: e.shutdown}}
			if warming {
				c.Steps = []lifecycle.Step{{Name: "cache", Run: wait}}
			}
		}, func(t *testing.T, r *rig) {
			time.AfterFunc(time.Second, func() { e.ended <- boom })
			err := r.life.RunWith(t.Context(), r.server, nil, nil)
			if !errors.Is(err, boom) || !strings.Contains(err.Error(), `"http"`) {
				t.Errorf("warming %v: error %v", warming, err)
			}
			if r.did("deregister") == warming {
				t.Errorf("warming %v: deregistered %v", warming, !warming)
			}
		})
	}
}

// Somebody else stopping the server ends the life too.
func TestServerStoppedByOthers(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		time.AfterFunc(time.Second, func() { r.server.Stop() })
		if err := r.life.RunWith(t.Context(), r.server, nil, nil); err == nil || !strings.Contains(err.Error(), "somebody else") {
			t.Error(err)
		}
		select {
		case <-r.life.Done():
		default:
			t.Error("Done is open")
		}
	})
}

func TestConfigProblems(t *testing.T) {
	inBubble(t, func(_ *rig, c *lifecycle.Config) {
		lis := c.Listener
		*c = lifecycle.Config{
			Listener: lis, Listen: ":1", Registrars: []discovery.Registrar{nil},
			Steps: []lifecycle.Step{{}}, Extra: []lifecycle.Extra{{}}, Hooks: []lifecycle.Hook{{}},
			Drain:  lifecycle.Drain{Quiet: -1, Hooks: -1},
			Logger: c.Logger,
		}
	}, func(t *testing.T, r *rig) {
		err := r.life.Start(t.Context(), r.server)
		for _, want := range []string{"Service is empty", "Listen", "Registrars[0]", "Steps[0]", "Extra[0]", "Hooks[0]", "Drain.Quiet -1ns", "Drain.Hooks"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %v", want, err)
			}
		}
	})
	inBubble(t, func(_ *rig, c *lifecycle.Config) {
		c.Weight, c.TTL = -1, 1
		c.Also = []discovery.Registration{{}}
	}, func(t *testing.T, r *rig) {
		err := r.life.Start(t.Context(), r.server)
		for _, want := range []string{"Weight -1", "TTL 1ns", "Service is empty"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %v", want, err)
			}
		}
	})
}

// Further registrations come and go with the first, and speak for the same server.
func TestAlso(t *testing.T) {
	inBubble(t, func(_ *rig, c *lifecycle.Config) {
		c.Also = []discovery.Registration{{
			Instance: discovery.Instance{ID: "admin", Service: service, Address: "10.0.0.1:81"},
			Health:   func(context.Context) (discovery.Health, string) { return discovery.Warning, "half full" },
		}, {
			Instance: discovery.Instance{ID: "same", Service: service},
		}}
	}, func(t *testing.T, r *rig) {
		r.start()
		got := map[string]string{}
		for _, i := range r.listed() {
			got[i.ID] = i.Address + " " + i.Health.String()
		}
		if len(got) != 3 || got["admin"] != "10.0.0.1:81 warning" || got["same"] != "10.0.0.1:80 passing" {
			t.Errorf("registered %q", got)
		}
		r.drain()
		if len(r.listed()) != 0 {
			t.Errorf("left behind: %v", r.listed())
		}
	})
}

// Clients may ping each 5 s, with a call in flight and without.
func TestClientsMayPing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.start()
		dials := 0
		conn, err := grpc.NewClient("passthrough:///orders", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, PermitWithoutStream: true}),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				dials++
				return r.lis.DialContext(ctx)
			}))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for range 5 {
			if _, err := orders.NewOrdersClient(conn).Get(t.Context(), &orders.GetRequest{}); err != nil {
				t.Error(err)
			}
			time.Sleep(5 * time.Minute)
		}
		if dials != 1 {
			t.Errorf("%d connections: want it never disconnected", dials)
		}
	})
}
