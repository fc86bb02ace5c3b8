package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

// warmUp is what the server does to itself before anybody is told of it. What must not
// fail is a step; what may is an optional one.
func warmUp(recording string, log *slog.Logger) []lifecycle.Step {
	steps := []lifecycle.Step{{
		Name: "first call", // it opens what is opened on first use
		Run: func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := orders.NewOrdersClient(conn).Get(ctx, &orders.GetRequest{Id: "1"})
			return err
		},
	}}
	if recording != "" {
		open := func(context.Context) (io.ReadCloser, error) { return os.Open(recording) }
		report := func(r lifecycle.ReplayReport) { log.Info("replayed", "report", r.String()) }
		steps = append(steps, lifecycle.Step{
			Name:     "replay",
			Optional: true, // the very first instance has nothing to replay
			Run:      lifecycle.ReplayFrom(open, lifecycle.ReplayPolicy{Report: report}),
		})
	}
	return steps
}

// writeRecording writes what was recorded when the last handler has returned. The file
// is replaced as a whole: a reader never sees half of one.
func writeRecording(file string, recorder *lifecycle.Recorder) []lifecycle.Hook {
	if file == "" {
		return nil
	}
	return []lifecycle.Hook{{
		Name: "write the recording",
		Run: func(context.Context) error {
			f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // for this user alone
			if err != nil {
				return err
			}
			_, err = recorder.WriteTo(f)
			if err = errors.Join(err, f.Close()); err == nil {
				err = os.Rename(f.Name(), file)
			}
			if err != nil {
				return errors.Join(err, os.Remove(f.Name()))
			}
			return nil
		},
	}}
}
