// Package alerts has Warren's alert rules for Prometheus, and checks them.
package alerts
