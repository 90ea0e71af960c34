// Package buildinfo says which build a binary is.
package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Set by the linker: -X github.com/warrenmq/warren/pkg/buildinfo.version=…
var version, commit string

// unknown stands for what a build says nothing of.
const unknown = "unknown"

// Info is what a binary knows of its build.
type Info struct {
	// Version is the release, or the commit, that the binary was built from; never
	// empty.
	Version string
	// Commit is the revision in version control, empty if it is not known.
	Commit string
	// Modified: what was built is not all in the commit.
	Modified bool
	// GoVersion is that of the compiler, such as go1.26.8.
	GoVersion string
}

// Read says what this binary is.
func Read() Info {
	info, _ := debug.ReadBuildInfo()
	return read(info, version, commit)
}

// read makes an Info of what the compiler has noted, nil if nothing, and of what
// the linker was told, which goes first.
func read(noted *debug.BuildInfo, version, commit string) Info {
	i := Info{Version: version, Commit: commit, GoVersion: runtime.Version()}
	if noted != nil {
		if i.Version == "" {
			i.Version = noted.Main.Version
		}
		for _, s := range noted.Settings {
			switch {
			case s.Key == "vcs.revision" && commit == "":
				i.Commit = s.Value
			case s.Key == "vcs.modified" && commit == "":
				i.Modified = s.Value == "true"
			}
		}
	}
	if i.Version == "" {
		i.Version = unknown
	}
	return i
}

// shortCommit is how much of a commit's name people are shown.
const shortCommit = 12

// String is one line for people: v1.2.3 (commit 0123456789ab, go1.26.8).
func (i Info) String() string {
	var parts []string
	if i.Commit != "" {
		text := "commit " + i.Commit[:min(len(i.Commit), shortCommit)]
		if i.Modified {
			text += ", modified"
		}
		parts = append(parts, text)
	}
	return fmt.Sprintf("%s (%s)", i.Version, strings.Join(append(parts, i.GoVersion), ", "))
}

// Version is the release, or the commit, that the binary was built from.
func Version() string { return Read().Version }
