package schema

import (
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// Bounds of diffs, in bytes.
const (
	// MaxDiff bounds a diff: one that is longer is cut.
	MaxDiff = 64 << 10
	// maxCompared bounds the texts that are compared.
	maxCompared = 4 << 20
)

// Text is one side of a diff.
type Text struct {
	// Name is what it is known by.
	Name string
	// JSON is as [Schemas.JSON] gives it, nil for a payload that has none.
	JSON []byte
}

// Diff is what one text changes against another, as a unified diff; empty for nothing.
func Diff(before, after Text) string {
	if size := max(len(before.JSON), len(after.JSON)); size > maxCompared {
		return fmt.Sprintf("--- %s\n+++ %s\n(not compared: %d and %d bytes of JSON)\n", before.Name, after.Name, len(before.JSON), len(after.JSON))
	}
	was, is := string(before.JSON), string(after.JSON)
	text, err := udiff.ToUnified(before.Name, after.Name, was, udiff.Lines(was, is), udiff.DefaultContextLines)
	if err != nil { // never, of edits that the library has made
		return fmt.Sprintf("--- %s\n+++ %s\n(not compared: %v)\n", before.Name, after.Name, err)
	}
	return cut(text)
}

// cut shortens a diff to MaxDiff, and says so.
func cut(text string) string {
	if len(text) <= MaxDiff {
		return text
	}
	end := fmt.Sprintf("\n… cut: %d bytes in all\n", len(text))
	return strings.ToValidUTF8(text[:MaxDiff-len(end)], "") + end
}
