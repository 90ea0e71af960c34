// Package e2e holds Warren's black-box tests: real gateway and worker
// processes, killed for real, on a real RabbitMQ that is cut off and restarted.
// A recorder outside Warren counts every start of a handler, and is the judge.
//
//	go test ./services/e2e -run TestPromise1 -seeds 1 -v
package e2e
