package consul

import (
	"maps"
	"slices"

	"github.com/surecall/surecall/discovery"
)

// sameInstance compares all that a user can see of an instance.
func sameInstance(a, b discovery.Instance) bool {
	return a.ID == b.ID && a.Incarnation == b.Incarnation && a.Service == b.Service && a.Address == b.Address &&
		a.Weight == b.Weight && a.Region == b.Region && a.Zone == b.Zone && a.ServerName == b.ServerName &&
		a.Health == b.Health && slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Meta, b.Meta)
}

// sameSet compares two sets, both sorted by ID.
func sameSet(a, b []discovery.Instance) bool { return slices.EqualFunc(a, b, sameInstance) }

// sameSnapshot compares what users see. Instances are sorted, so order is no difference.
func sameSnapshot(a, b discovery.Snapshot) bool {
	return text(a.Err) == text(b.Err) && text(a.Doubt) == text(b.Doubt) &&
		sameSet(a.Instances, b.Instances) && slices.Equal(a.Problems, b.Problems)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
