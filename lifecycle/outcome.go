package lifecycle

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// An outcome is what is kept of a call: one of these, and the message behind it.
const (
	okOutcome    = 'o' // google.protobuf.Any, with the reply
	errorOutcome = 'e' // google.rpc.Status
)

// keepReply returns the outcome of a call that succeeded.
func keepReply(reply any, most int) []byte {
	message, ok := reply.(proto.Message)
	if !ok {
		return unanswerable(fmt.Sprintf("its reply, a %T, is no proto message", reply))
	}
	packed, err := anypb.New(message)
	if err != nil {
		return unanswerable(fmt.Sprintf("its reply cannot be marshaled: %v", err))
	}
	outcome, err := proto.MarshalOptions{}.MarshalAppend([]byte{okOutcome}, packed)
	switch {
	case err != nil:
		return unanswerable(fmt.Sprintf("its reply cannot be marshaled: %v", err))
	case len(outcome) > most:
		return unanswerable(fmt.Sprintf("its reply of %d bytes is larger than the %d that are kept", len(outcome), most))
	}
	return outcome
}

// keepError returns the outcome of a call that failed.
func keepError(err error, most int) []byte {
	s := errorStatus(err)
	outcome, failed := proto.MarshalOptions{}.MarshalAppend([]byte{errorOutcome}, s.Proto())
	if failed != nil || len(outcome) > most {
		return unanswerable(fmt.Sprintf("its error, %v, is larger than the %d bytes that are kept", s.Code(), most))
	}
	return outcome
}

// unanswerable is the outcome of a call that was executed, and whose repeats cannot be
// answered.
func unanswerable(why string) []byte { return aborted("executed, but " + why) }

// unknown is the outcome of a call of which nobody knows how far it came.
func unknown(why string) []byte { return aborted("outcome unknown: " + why) }

func aborted(why string) []byte {
	s := status.New(codes.Aborted, "lifecycle: this call was begun before: "+why)
	outcome, _ := proto.MarshalOptions{}.MarshalAppend([]byte{errorOutcome}, s.Proto()) // it fails on invalid UTF-8 alone, and what we say of a call is none
	return outcome
}

// answered is the answer to a repeat.
func answered(outcome []byte) (any, error) {
	if len(outcome) > 0 {
		switch kind, body := outcome[0], outcome[1:]; kind {
		case okOutcome:
			packed := &anypb.Any{}
			if err := proto.Unmarshal(body, packed); err == nil {
				if reply, err := packed.UnmarshalNew(); err == nil {
					return reply, nil
				}
			}
			return nil, status.Errorf(codes.Aborted, "lifecycle: this call was executed before, but its reply, a %s, is not understood here", packed.MessageName())
		case errorOutcome:
			s := status.New(codes.Unknown, "").Proto()
			if err := proto.Unmarshal(body, s); err == nil {
				return nil, status.ErrorProto(s)
			}
		}
	}
	return nil, status.Errorf(codes.Aborted, "lifecycle: this call was executed before, but what is kept of it, %d bytes, is not understood here", len(outcome))
}

// errorStatus is what gRPC makes of a handler's error.
func errorStatus(err error) *status.Status {
	if s, ok := status.FromError(err); ok {
		return s
	}
	return status.FromContextError(err)
}
