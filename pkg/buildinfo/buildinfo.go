// Package buildinfo says which build a binary is.
package buildinfo

import "runtime/debug"

// version is set by the linker: -X github.com/warrenmq/warren/pkg/buildinfo.version=…
var version string

// Version is the release, or the commit, that the binary was built from.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
