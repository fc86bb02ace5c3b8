package docs_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// The errors that the troubleshooting shows are those that callers get, up to what the
// connection said.
func TestMessagesAreReal(t *testing.T) {
	var shown []string
	for _, m := range fence.FindAllStringSubmatch(read(t, "troubleshooting.md"), -1) {
		if m[1] == "" && strings.HasPrefix(m[2], "surecall: ") {
			shown = append(shown, lasting(m[2]))
		}
	}
	got := []string{allKilled(t), allFail(t), allSlow(t)}
	for _, message := range got {
		if !slices.Contains(shown, lasting(message)) {
			t.Errorf("troubleshooting.md does not show\n%s", message)
		}
	}
	if len(shown) != len(got) {
		t.Errorf("troubleshooting.md shows %d messages, of which %d are tested", len(shown), len(got))
	}
}

var ofTheMoment = regexp.MustCompile(`; last error .*|surecall: .* (at attempt)`)

// lasting leaves out what differs from one moment to the next: what a connection said, and
// whether the server told of the deadline first.
func lasting(message string) string {
	return ofTheMoment.ReplaceAllString(strings.TrimSpace(message), "$1")
}

// in returns the error that ask ends with, of a client of n instances.
func in(t *testing.T, n int, ask func(context.Context, *surecalltest.Cluster, orders.OrdersClient) error) (message string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, n)
		client := cluster.Client()
		if err := client.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		err := ask(t.Context(), cluster, orders.NewOrdersClient(client))
		if err == nil {
			t.Fatal("the call succeeded")
		}
		message = surecall.Explain(err).Call.Err.Error()
		message = strings.TrimPrefix(message, "rpc error: code = DeadlineExceeded desc = ")
	})
	return message
}

func allKilled(t *testing.T) string {
	return in(t, 5, func(ctx context.Context, c *surecalltest.Cluster, stub orders.OrdersClient) error {
		for _, i := range c.Instances() {
			i.Kill()
		}
		time.Sleep(2 * time.Second)
		_, err := stub.Get(ctx, &orders.GetRequest{})
		return err
	})
}

func allFail(t *testing.T) string {
	return in(t, 3, func(ctx context.Context, c *surecalltest.Cluster, stub orders.OrdersClient) (err error) {
		for _, i := range c.Instances() {
			i.Fail(codes.Unavailable)
		}
		for range 200 {
			_, err = stub.Place(ctx, &orders.PlaceRequest{})
			time.Sleep(10 * time.Millisecond)
			if strings.Contains(err.Error(), "is down") {
				break
			}
		}
		return err
	})
}

func allSlow(t *testing.T) string {
	return in(t, 1, func(ctx context.Context, c *surecalltest.Cluster, stub orders.OrdersClient) error {
		c.Instance(0).Delay(time.Minute)
		_, err := stub.Place(ctx, &orders.PlaceRequest{})
		return err
	})
}
