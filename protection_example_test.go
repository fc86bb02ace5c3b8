package surecall_test

import (
	"fmt"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
)

// In an emergency a protection can be switched off while the program runs, and on again.
func ExampleWithDisabled() {
	tell := func(e event.Event) {
		if e, ok := e.(event.ProtectionSwitched); ok {
			fmt.Printf("%s off: %v, by %s\n", e.Protection, e.Off, e.By)
		}
	}
	client, err := surecall.NewClient("static:///localhost:50051", surecall.WithInsecure(), surecall.WithEvents(tell))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()

	err = client.Update(surecall.WithDisabled(surecall.ProtectionBreaker, surecall.ProtectionRetry))
	fmt.Println(client.Disabled(), err)

	err = client.Update(surecall.WithDisabled()) // all are on again
	fmt.Println(client.Disabled(), err)
	// Output:
	// breaker off: true, by code
	// retry off: true, by code
	// [breaker retry] <nil>
	// breaker off: false, by code
	// retry off: false, by code
	// [] <nil>
}
