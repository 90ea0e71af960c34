package rpc

import (
	"context"
	"log/slog"
	"slices"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc/codes"
)

// logOptions: one line for each failed call, at its end; none for success at
// info.
func logOptions() []logging.Option {
	return []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithLevels(logLevel),
		logging.WithDisableLoggingFields(logging.ComponentFieldKey, logging.MethodTypeFieldKey, logging.SystemTag[0]),
	}
}

// logLevel keeps what is the caller's fault below what is ours.
func logLevel(code codes.Code) logging.Level {
	switch code {
	case codes.OK, codes.Canceled, codes.NotFound, codes.DeadlineExceeded:
		return logging.LevelDebug
	case codes.Internal, codes.Unknown, codes.DataLoss, codes.Unimplemented:
		return logging.LevelError
	case codes.Unavailable, codes.ResourceExhausted:
		return logging.LevelWarn
	}
	return logging.LevelInfo
}

// messageField has what the caller is told. It stays as it was set before the call's end.
const messageField = "grpc.error"

// passedText stands in a log line for the text of an [AnswerError].
const passedText = "(answered for another)"

// notePassed leaves a failure to the log of whom it comes from, and its text as well.
func notePassed(ctx context.Context) {
	logging.AddFields(ctx, logging.Fields{messageField, passedText})
}

// hideMessage has the reason stand for a message that is [Error.Private].
func hideMessage(ctx context.Context, e *Error) {
	if e.Private {
		logging.AddFields(ctx, logging.Fields{messageField, ReasonName(e.Reason)})
	}
}

func logAdapter(l *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		if slices.Contains(fields, any(passedText)) {
			level = logging.LevelDebug
		}
		l.Log(ctx, slog.Level(level), msg, fields...)
	})
}

// noteCause adds to the call's log line what its caller is not told.
func noteCause(ctx context.Context, e *Error) {
	if e.Cause != nil {
		logging.AddFields(ctx, logging.Fields{"cause", e.Cause.Error()})
	}
	if incident := e.Metadata[incidentKey]; incident != "" {
		logging.AddFields(ctx, logging.Fields{incidentKey, incident})
	}
}

// onlyMistakes drops what is no mistake of ours.
func onlyMistakes(l logging.Logger) logging.Logger {
	return logging.LoggerFunc(func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		if level >= logging.LevelError {
			l.Log(ctx, level, msg, fields...)
		}
	})
}
