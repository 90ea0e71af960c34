package report_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/bench/internal/report"
)

func tuning() *report.Tuning {
	return &report.Tuning{
		Setup: setup, PayloadBytes: 256, Connections: 4, Seconds: 3, RetryMillis: 100,
		Combinations: []report.Combination{
			{Concurrency: 64, Prefetch: 16, WorkMillis: 10, Retries: 0.2, Throughput: 5012, Offered: 2506, StartP50: 12.34, StartP99: 123.4, CriticalP50: 31, CriticalTasks: 20},
			{Concurrency: 64, Prefetch: 1, WorkMillis: 10, Retries: 0.2, Throughput: 4012, Offered: 2006, StartP50: 2.34, StartP99: 12, CriticalP50: 16, CriticalTasks: 20},
			{Concurrency: 4, Prefetch: 1, Throughput: 6543, Offered: 3271, StartP50: 1.5, StartP99: 5},
		},
	}
}

const tuningTable = `2 cores (Some CPU), linux/amd64, kernel 6.1, go1.26, RabbitMQ 4.3.6, Erlang/OTP 29; data on ext4
Warren v1, payload 256 B, 4 gRPC connections; about 3 s of load for each line; what fails is tried again after 100 ms

                            concurrency  prefetch  tasks/s  start p50   p99  CRITICAL p50
  work 0 ms, 0 % retried              4         1    6,543       1.50  5.00             -
  work 10 ms, 20 % retried           64         1    4,012       2.34  12.0          16.0
  work 10 ms, 20 % retried           64        16    5,012       12.3   123          31.0

start: milliseconds from submission until the handler is called, at half of that throughput;
CRITICAL: the same for a CRITICAL task behind a full queue.
`

func TestTheTableOfSettings(t *testing.T) {
	require.Equal(t, tuningTable, printed(t, tuning()))
	got := &report.Tuning{}
	require.Contains(t, written(t, tuning(), got), `"critical_p50_ms": 31`)
	require.Equal(t, tuning(), got)
}

func scheduling() *report.Scheduling {
	return &report.Scheduling{
		Setup: setup, PayloadBytes: 256, Connections: 4, Rate: 9876,
		Before: report.Waiting{
			ResidentBytes: 50 << 20, PeakBytes: 60 << 20, StoreBytes: 1 << 20,
			RunNow: report.Percentiles{P50: 4, P99: 8}, Due: report.Percentiles{P50: 3, P99: 9},
		},
		After: report.Waiting{
			Tasks: 1 << 20, ResidentBytes: 150 << 20, PeakBytes: 260 << 20, StoreBytes: 1001 << 20,
			RunNow: report.Percentiles{P50: 5, P99: 10}, Due: report.Percentiles{P50: 4, P99: 12},
		},
	}
}

const schedulingTable = `2 cores (Some CPU), linux/amd64, kernel 6.1, go1.26, RabbitMQ 4.3.6, Erlang/OTP 29; data on ext4
Warren v1, payload 256 B, 4 gRPC connections; 1,048,576 tasks were scheduled, 9,876 a second

                           before      after
  tasks that wait               0  1,048,576
  gateway's memory           50.0        150  MiB
  its peak                   60.0        260  MiB
  store's files              1.00      1,001  MiB
  RunTaskNow to start p50    4.00       5.00   ms
  RunTaskNow to start p99    8.00       10.0   ms
  due to start p50           3.00       4.00   ms
  due to start p99           9.00       12.0   ms

A task that waits takes 100 bytes of memory and 1,000 of the store.
`

func TestTheTableOfScheduledTasks(t *testing.T) {
	require.Equal(t, schedulingTable, printed(t, scheduling()))
	got := &report.Scheduling{}
	require.Contains(t, written(t, scheduling(), got), `"store_bytes": 1049624576`)
	require.Equal(t, scheduling(), got)
}
