package surecall

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// DefaultReplayBuffer is what gRPC itself keeps of a stream: grpc.MaxRetryRPCBufferSize.
const DefaultReplayBuffer = 256 << 10

// WithReplayBuffer keeps up to so many bytes of what each stream has sent, as encoded,
// until its first message is received: so long it can be opened again on another
// instance, and all of it sent again. Whoever sends meanwhile waits, and may use a
// message again as soon as SendMsg returns. A stream is not retried any more once it has
// sent more than that, or its caller has been given its header or its context. Default
// 256 KiB.
//
// What a stream of a method that is not idempotent sends is kept only for servers of
// package lifecycle: no other can say that it executed nothing. Messages that are not
// protocol buffers cannot be kept.
func WithReplayBuffer(bytes int) CallOption {
	return perCall("replay buffer", func(m *methodSettings) {
		m.replay = bytes
		if bytes <= 0 {
			m.fail(fmt.Errorf("surecall: WithReplayBuffer %d: want more than 0 bytes, or WithoutReplayBuffer()", bytes))
		}
	})
}

// WithoutReplayBuffer keeps nothing of what streams send: a stream is retried only if it
// has sent nothing yet.
func WithoutReplayBuffer() CallOption {
	return perCall("replay buffer", func(m *methodSettings) { m.replay = 0 })
}

// replayBuffer is what a stream has sent: its messages as encoded, each behind its
// length. What is encoded shares nothing with the caller's messages, and is as large as it
// counts.
type replayBuffer struct {
	kind   protoreflect.MessageType // of all of them
	data   []byte
	closed bool // nothing more will be sent
}

// keep adds m, if all then is no larger than bound. It reports whether it did.
func (b *replayBuffer) keep(m any, bound int) bool {
	message := protoMessage(m)
	if message == nil || b.closed {
		return false
	}
	kind := message.ProtoReflect().Type()
	if b.kind != nil && b.kind != kind {
		return false
	}
	size := proto.Size(message)
	if len(b.data)+binary.MaxVarintLen32+size > bound {
		return false
	}
	data, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(binary.AppendUvarint(b.data, uint64(size)), message)
	if err != nil {
		return false
	}
	b.kind, b.data = kind, data
	return true
}

// empty reports whether there is nothing to send again.
func (b *replayBuffer) empty() bool { return b.kind == nil && !b.closed }

// replay sends everything again. An error means that the stream is over, and is for its
// receiver to learn.
func (b *replayBuffer) replay(stream grpc.ClientStream) {
	for rest := b.data; len(rest) > 0; {
		size, n := binary.Uvarint(rest)
		message := b.kind.New().Interface()
		var m any = message
		if err := proto.Unmarshal(rest[n:n+int(size)], message); err != nil {
			m = err // not to be encoded: it ends the stream, which must not go on without it
		}
		if stream.SendMsg(m) != nil {
			return
		}
		rest = rest[n+int(size):]
	}
	if b.closed {
		_ = stream.CloseSend() // it always returns nil
	}
}

// protoMessage returns m as gRPC's own codec sees it; nil: it is no such message.
func protoMessage(m any) proto.Message {
	switch m := m.(type) {
	case proto.Message:
		return m
	case protoadapt.MessageV1:
		return protoadapt.MessageV2Of(m)
	}
	return nil
}
