//go:build unix

package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// tailBytes bounds how much of a file Tail reads.
const tailBytes = 64 << 10

// Tail is the last lines of a file, whole ones only.
func Tail(file string, lines int) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read the end of a log: %w", err)
	}
	defer func() { _ = f.Close() }()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", fmt.Errorf("read the end of a log: %w", err)
	}
	start := max(end-tailBytes, 0)
	text := make([]byte, end-start)
	if n, err := f.ReadAt(text, start); err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the end of a log: %w", err)
	} else {
		text = text[:n]
	}
	if _, whole, ok := bytes.Cut(text, []byte("\n")); ok && start > 0 {
		text = whole
	}
	text = bytes.TrimRight(text, "\n")
	for at := len(text); lines > 0; lines-- {
		if at = bytes.LastIndexByte(text[:at], '\n'); at < 0 {
			return string(text), nil
		}
		if lines == 1 {
			return string(text[at+1:]), nil
		}
	}
	return "", nil
}
