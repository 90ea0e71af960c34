//go:build unix

// Package brokertest gives tests a real RabbitMQ, and ways to disturb it.
//
// [Shared] runs one node per test process, [VHost] a virtual host on it for one test, so that tests run in parallel and
// start clean. A test that kills or blocks a node starts its own with [StartNode] or [StartCluster]. [Proxy] cuts and stalls
// connections. A package that uses any of Shared and VHost calls [Main] from its TestMain:
//
//	func TestMain(m *testing.M) { brokertest.Main(m) }
//
// A broker that cannot be had fails the test; nothing is ever skipped.
//
// # Environment
//
// When WARREN_TEST_AMQP_URL and WARREN_TEST_MANAGEMENT_URL are set, Shared is that broker, which must be RabbitMQ 4.3 with
// the management plugin, and whose user must be an administrator; for instance amqp://guest:guest@127.0.0.1:5672/ and
// http://guest:guest@127.0.0.1:15672. Counts in its management API can be five seconds old. Nodes and clusters that a test
// starts for itself are local all the same.
package brokertest
