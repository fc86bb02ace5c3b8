package consul

import "testing"

// TestSourcesThatFindOthersReadOtherwise: a snapshot on disk is known by the source's
// String. It has no secret.
func TestSourcesThatFindOthersReadOtherwise(t *testing.T) {
	for want, c := range map[string]Config{
		"consul at 10.0.0.1:8500":                           {Address: "10.0.0.1:8500", Token: "secret", Username: "secret", Password: "secret"},
		"consul at 10.0.0.1:8500/b":                         {Address: "http://10.0.0.1:8500/b"},
		"consul at 10.0.0.1:8500, datacenter eu":            {Address: "10.0.0.1:8500", Datacenter: "eu"},
		"consul at 10.0.0.1:8500, namespace x":              {Address: "10.0.0.1:8500", Namespace: "x"},
		"consul at 10.0.0.1:8500, namespace x, partition y": {Address: "10.0.0.1:8500", Namespace: "x", Partition: "y"},
	} {
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		s.Close()
	}
}
