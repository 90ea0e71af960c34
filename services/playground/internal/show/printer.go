// Package show prints what happens, as a person would like to watch it.
package show

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// whatWidth is the width of the column that says what a line is about.
const whatWidth = 13

// Printer prints lines with the time since it was made. Its methods may be
// called from any goroutine.
type Printer struct {
	out   io.Writer
	start time.Time

	mu sync.Mutex
}

// NewPrinter returns a printer whose time starts now.
func NewPrinter(out io.Writer) *Printer {
	return &Printer{out: out, start: time.Now()}
}

// Title prints a line that begins something new.
func (p *Printer) Title(format string, args ...any) {
	p.print("\n" + fmt.Sprintf(format, args...) + "\n")
}

// Line prints one thing that happened: what it is about, and what there is to
// say. Further lines of the text are aligned under its first.
func (p *Printer) Line(what, format string, args ...any) {
	margin := fmt.Sprintf("%7.2f s  %-*s ", time.Since(p.start).Seconds(), whatWidth, what)
	p.print(strings.TrimRight(margin+indented(fmt.Sprintf(format, args...), len(margin)), " ") + "\n")
}

// Text prints lines without a time, as they are.
func (p *Printer) Text(text string) {
	p.print(strings.TrimRight(text, "\n") + "\n")
}

// print writes in one go. Nobody watches when it fails.
func (p *Printer) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.out, text)
}

func indented(text string, by int) string {
	return strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+strings.Repeat(" ", by))
}

// Size is a number of bytes for people, in steps of 1,000.
func Size[N int | int64](bytes N) string {
	switch {
	case bytes < 1_000:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	default:
		return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
	}
}
