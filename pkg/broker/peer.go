package broker

// Peer is the broker as it presents itself when a connection opens.
type Peer struct {
	Product, Version string
	// Cluster is the cluster's name.
	Cluster string
	// Address is the node's, or of what stands before it, as IP address and port.
	Address string
}

// Peer is the broker that the connection leads to; false if it is not open now.
func (c *Connection) Peer() (Peer, bool) {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn == nil {
		return Peer{}, false
	}
	text := func(key string) string {
		value, _ := conn.Properties[key].(string)
		return value
	}
	return Peer{Product: text("product"), Version: text("version"), Cluster: text("cluster_name"), Address: conn.RemoteAddr().String()}, true
}
