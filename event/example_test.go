package event_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/surecall/surecall/event"
)

func ExampleSlog() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{} // the time would differ in each run
			}
			return a
		},
	}))
	handle := event.Slog(logger)
	handle(event.InstanceChanged{
		Service: "orders", Instance: "orders-3", Address: "10.0.0.3:50051",
		From: event.Eligible, To: event.Ejected, Why: "5 failures in a row",
	})
	handle(event.SourceDegraded{
		Service: "orders", Known: 5,
		Err: errors.New(`Get "https://consul:8501/v1/health/service/orders?token=b1gs3cret": connection refused`),
	})
	// Output:
	// level=WARN msg="instance is ejected" service=orders event=instance_changed instance=orders-3 address=10.0.0.3:50051 from=eligible to=ejected why="5 failures in a row"
	// level=WARN msg="source has no sure answer" service=orders event=source_degraded error="Get \"https://consul:8501/v1/health/service/orders?token=***\": connection refused" known=5
}

func ExampleTee() {
	ejections := 0
	count := func(e event.Event) {
		if c, ok := e.(event.InstanceChanged); ok && c.To == event.Ejected {
			ejections++
		}
	}
	handle := event.Tee(count, func(e event.Event) { fmt.Printf("%T\n", e) })
	handle(event.InstanceChanged{To: event.Ejected})
	handle(event.InstanceAdded{})
	fmt.Println(ejections)
	// Output:
	// event.InstanceChanged
	// event.InstanceAdded
	// 1
}
