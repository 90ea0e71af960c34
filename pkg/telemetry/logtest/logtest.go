// Package logtest keeps what is logged, for tests that read it.
package logtest

import (
	"bytes"
	"strings"
	"sync"
)

// Buffer is what a log is written to. The zero value is empty; all methods may be called
// by several goroutines.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is all that was written, since the last Take if there was one.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Take is String, and forgets it.
func (b *Buffer) Take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.text.Reset()
	return b.text.String()
}

// Count says how often a text was written.
func (b *Buffer) Count(text string) int { return strings.Count(b.String(), text) }
