package catalogue

import (
	"errors"
	"fmt"
)

// Default limits of an announcement.
const (
	// DefaultMaxBytes is the default of [Limits.MaxBytes], 4 MiB.
	DefaultMaxBytes = 4 << 20
	// DefaultMaxFiles is the default of [Limits.MaxFiles].
	DefaultMaxFiles = 2000
	// DefaultMaxElements is the default of [Limits.MaxElements].
	DefaultMaxElements = 250_000
	// DefaultMaxImportPaths is the default of [Limits.MaxImportPaths].
	DefaultMaxImportPaths = 1_000_000
)

// What no announcement may exceed, whatever its Limits.
const (
	// MaxTypeName is the longest name of a task type in bytes. Queues are named
	// after task types, and AMQP 0-9-1 names have at most 255 bytes, of which the
	// rest is for the namespace.
	MaxTypeName = 200

	// Longest full name of anything declared, in bytes. A name is stored with
	// each thing declared under it.
	maxFullName = 512
	// Longest path of a file, in bytes.
	maxPath = 512
	// Deepest nesting of the messages in a file descriptor: what protobuf for C++
	// and Java, and with them protoc and its plugins, accept by default.
	maxDescriptorDepth = 100
)

// ErrLimit is in the chain of errors of [Build] for an announcement over one of
// its [Limits]. The text has the limit.
var ErrLimit = errors.New("announcement over a limit")

// Limits bound what one announcement may cost. A value of zero or less means
// the default.
type Limits struct {
	// MaxBytes bounds the bytes of all files together, and of the names of the
	// services. Default [DefaultMaxBytes].
	MaxBytes int
	// MaxFiles bounds the number of files, and of services. Default
	// [DefaultMaxFiles].
	MaxFiles int
	// MaxElements bounds the number of messages, fields, enum values, options,
	// source locations and so on, in all files together: two bytes of an encoded
	// descriptor can take hundreds in memory. Default [DefaultMaxElements].
	MaxElements int
	// MaxImportPaths bounds the number of ways to follow imports from a file to
	// another, summed over all files. The protobuf runtime (public imports) and
	// gRPC reflection (all imports) walk each way, and files that import one
	// another in diamonds have exponentially many. Default
	// [DefaultMaxImportPaths].
	MaxImportPaths int
}

func (l Limits) withDefaults() Limits {
	return Limits{
		MaxBytes:       positive(l.MaxBytes, DefaultMaxBytes),
		MaxFiles:       positive(l.MaxFiles, DefaultMaxFiles),
		MaxElements:    positive(l.MaxElements, DefaultMaxElements),
		MaxImportPaths: positive(l.MaxImportPaths, DefaultMaxImportPaths),
	}
}

func positive(value, byDefault int) int {
	if value <= 0 {
		return byDefault
	}
	return value
}

// check applies the limits that need no decoding.
func (l Limits) check(a Announcement) error {
	if len(a.Files) > l.MaxFiles || len(a.Services) > l.MaxFiles {
		return fmt.Errorf("%w: %d files and %d services, at most %d of each",
			ErrLimit, len(a.Files), len(a.Services), l.MaxFiles)
	}
	size := 0
	for _, file := range a.Files {
		size += len(file)
	}
	for _, service := range a.Services {
		size += len(service)
	}
	if size > l.MaxBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrLimit, size, l.MaxBytes)
	}
	return nil
}
