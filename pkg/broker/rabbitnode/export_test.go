//go:build unix

package rabbitnode

// LoopbackPorts returns every port that the node and its epmd listen on.
func (n *Node) LoopbackPorts() []int {
	ports := []int{n.ports.amqp, n.ports.dist, n.epmd.port}
	if n.ports.management != 0 {
		ports = append(ports, n.ports.management)
	}
	return ports
}

// Dir returns the node's data folder.
func (n *Node) Dir() string { return n.dir.path }
