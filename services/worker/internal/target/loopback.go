package target

import (
	"fmt"
	"net"
	"strings"

	"github.com/warrenmq/warren/pkg/rpc"
)

// checkMetadata refuses to send metadata in clear text to other machines, unless
// that is meant: mostly it is a token.
func (c Config) checkMetadata() error {
	if c.Metadata == nil || c.Insecure || !c.TLS.none() {
		return nil
	}
	for _, name := range c.Names {
		if !onThisMachine(name) {
			return fmt.Errorf("--metadata-file would go to --target %s in clear text, where others may read it; give --tls, or --insecure if that is meant", name)
		}
	}
	return nil
}

// onThisMachine says whether a gRPC target name is certain to be of this machine: a
// socket in its file system, or a loopback address.
func onThisMachine(name string) bool {
	switch scheme, rest, _ := strings.Cut(name, ":"); scheme {
	case "unix", "unix-abstract":
		return true
	case "dns", "passthrough":
		// With an authority, as in dns://server/name, it is no loopback's name any more.
		name = strings.TrimPrefix(rest, "///")
	}
	host, _, err := net.SplitHostPort(name)
	if err != nil {
		host = strings.Trim(name, "[]")
	}
	return rpc.IsLoopback(host)
}
