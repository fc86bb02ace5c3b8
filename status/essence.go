package status

import (
	"encoding/binary"
	"hash/fnv"
	"io"
	"time"
)

// essence is the same for documents that differ in numbers only: what it covers is shown at
// once, numbers once a second.
func essence(all []Status) uint64 {
	h := fnv.New64a()
	var buf [8]byte
	whole := func(n int) {
		_, _ = h.Write(binary.LittleEndian.AppendUint64(buf[:0], uint64(n)))
	}
	text := func(parts ...string) {
		for _, s := range parts {
			whole(len(s))
			_, _ = io.WriteString(h, s)
		}
	}
	is := func(b bool) { whole(int(flag(b))) }
	moment := func(t time.Time) { whole(int(t.UnixNano())) }
	breaker := func(b *Breaker) {
		if is(b != nil); b != nil {
			text(b.State, b.Mode)
			is(b.DryRun)
		}
	}
	source := func(s *Source) {
		is(s.Answered)
		is(s.Trusted)
		is(s.FromDisk)
		whole(s.Instances)
		whole(s.Absent)
		text(s.Datacenter, s.Why)
	}
	for n := range all {
		s := &all[n]
		text(s.Service, s.Target)
		is(s.Shadow)
		text(s.Disabled...)
		source(&s.Source)
		whole(len(s.Source.Datacenters))
		for i := range s.Source.Datacenters {
			source(&s.Source.Datacenters[i])
		}
		whole(len(s.Instances))
		for i := range s.Instances {
			instance := &s.Instances[i]
			text(instance.ID, instance.Address, instance.Incarnation, instance.State, instance.Why, instance.Mode)
			is(instance.Eligible)
			whole(instance.Weight)
			breaker(instance.Breaker)
		}
		breaker(s.ServiceBreaker)
		for i := range s.Methods {
			breaker(s.Methods[i].Breaker)
		}
		for i := range s.Policies {
			layer := &s.Policies[i]
			text(layer.Layer, layer.From, layer.Refused)
			moment(layer.Since)
		}
		whole(len(s.Events))
		if len(s.Events) > 0 {
			moment(s.Events[0].At)
			text(s.Events[0].Text)
		}
		whole(len(s.BadCalls))
		if len(s.BadCalls) > 0 {
			moment(s.BadCalls[0].At)
		}
	}
	return h.Sum64()
}
