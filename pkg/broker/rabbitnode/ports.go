//go:build unix

package rabbitnode

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports come from below the range that kernels give to outgoing connections (from 32768 on Linux, 49152 elsewhere). A
// port from that range could go to any client while a node restarts; worse, a client that keeps dialing the port of a
// dead local node can be given that very port and so connect to itself.
const (
	lowestPort  = 20000
	highestPort = 32000
	portTries   = 100
)

// freePorts returns n different TCP ports of 127.0.0.1 that nobody listens on. Another process may take one at any time
// after, so what uses them must be ready to try again.
func freePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	for range portTries * n {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		probe, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		defer probe.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("finding free ports on 127.0.0.1: none left")
}

func checkFree(port int) error {
	probe, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return fmt.Errorf("listening on port %d: %w", port, err)
	}
	return probe.Close()
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
