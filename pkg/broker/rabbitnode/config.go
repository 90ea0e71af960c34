//go:build unix

package rabbitnode

import (
	"fmt"
	"io"
	"strings"
)

// NodeConfig says how to run a node. The zero value runs a node of its own on free ports with data that vanish.
type NodeConfig struct {
	// Name is the part of the Erlang node name before "@localhost": letters, digits, "-" and "_". Stored data belong to a
	// name. Defaults to the name in DataDir when that holds a node's data, else to a new one. In a cluster it is a prefix.
	Name string

	// AMQPPort is the port on 127.0.0.1 for AMQP 0-9-1 and 1.0. Defaults to a free one. The nodes of a cluster take it and
	// the ports that follow.
	AMQPPort int

	// Management runs the management plugin, which adds about half a second to a start.
	Management bool

	// ManagementPort is the port on 127.0.0.1 for the management API. Defaults to a free one. The nodes of a cluster take
	// it and the ports that follow.
	ManagementPort int

	// DataDir keeps configuration, data and logs; it is created when absent, and one node at a time may use it. Defaults
	// to a temporary folder that [Node.Close] removes. The nodes of a cluster use folders inside.
	DataDir string

	// ExtraConfig is appended to rabbitmq.conf, in its format. A setting that is repeated overrides.
	ExtraConfig string

	// AdvancedConfig is the content of advanced.config, in its format. Defaults to none.
	AdvancedConfig string

	// LogWriter receives what the node prints, its log included. Defaults to a file in DataDir.
	LogWriter io.Writer
}

// nodePorts are those of one node. A management port of 0 means no management.
type nodePorts struct{ amqp, management, dist int }

// nodeConf writes rabbitmq.conf. The limits suit many small nodes on one machine: alarms by free disk come late, and
// Raft's log files are 64 MiB instead of 512.
func nodeConf(cfg NodeConfig, p nodePorts, peers []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners.tcp.1 = 127.0.0.1:%d\n", p.amqp)
	if p.management != 0 {
		fmt.Fprintf(&b, "management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = %d\n", p.management)
	}
	if len(peers) > 0 {
		b.WriteString("cluster_formation.peer_discovery_backend = classic_config\n")
		for i, peer := range peers {
			fmt.Fprintf(&b, "cluster_formation.classic_config.nodes.%d = %s\n", i+1, peer)
		}
	}
	b.WriteString("vm_memory_high_watermark.absolute = 1GiB\n" +
		"disk_free_limit.absolute = 64MB\n" +
		"raft.wal_max_size_bytes = 67108864\n" +
		"log.file = node.log\nlog.file.level = info\n")
	if cfg.LogWriter != nil {
		b.WriteString("log.console = true\n")
	}
	b.WriteString(cfg.ExtraConfig)
	b.WriteString("\n")
	return b.String()
}

func enabledPlugins(cfg NodeConfig) string {
	if cfg.Management {
		return "[rabbitmq_management].\n"
	}
	return "[].\n"
}

// validName keeps names out of trouble in shells, paths and Erlang alike.
func validName(name string) error {
	ok := name != "" && strings.IndexFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
	if !ok {
		return fmt.Errorf("%q is not a node name: use letters, digits, - and _, without a host", name)
	}
	return nil
}
