package fingerprint_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/deadletter/internal/fingerprint"
)

var messages = map[string]map[string]string{
	"words": {
		"":                                  "",
		" \t\n ":                            "",
		"the disk is full":                  "the disk is full",
		"  a \t b\r\n\u00a0c ":              "a b c",
		"ipv4, ipv6, v2, http2 and sha256":  "ipv4, ipv6, v2, http2 and sha256",
		"k8s e2e x509 utf8 i18n s3 ec2 MD5": "k8s e2e x509 utf8 i18n s3 ec2 MD5",
		"can't, won't and the users' data":  "can't, won't and the users' data",
		"größe überschritten":               "größe überschritten",
		"注文 4711 は存在しません":                   "注文 <num> は存在しません",
	},
	"ids": {
		"order-4711 exists":          "order-<num> exists",
		"order_4711/item-3":          "order_<num>/item-<num>",
		"user4711 is gone":           "user<num> is gone",
		"customer 17 does not exist": "customer <num> does not exist",
		"object 018f7d2a-1c3e-7d4b-8a5f-0123456789ab is gone":        "object <uuid> is gone",
		"task_018F7D2A-1C3E-7D4B-8A5F-0123456789AB":                  "task_<uuid>",
		"{018f7d2a-1c3e-7d4b-8a5f-0123456789ab}":                     "{<uuid>}",
		"checksum 0x0000beef is wrong":                               "checksum <hex> is wrong",
		"commit 9fceb02d0ae598e95dc970b74767f19372d61af8":            "commit <hex>",
		"trace 4bf92f3577b34da6a3ce929d0e0e4736 ended":               "trace <hex> ended",
		"a facade, deadbeef and 123456789":                           "a facade, deadbeef and <num>",
		"01ARZ3NDEKTSV4RRFFQ69G5FAV is unknown":                      "<id> is unknown",
		"pod api-7d9f8b6c5-x2x9z":                                    "pod api-<hex>-<id>",
		"java.lang.Object@1b28cda, com.acme.Foo@12345678":            "java.lang.Object@<hex>, com.acme.Foo@<hex>",
		"mac 00:1a:2b:3c:4d:5e, aa:bb:cc:dd:ee:ff":                   "mac <hex>, aa:bb:cc:dd:ee:ff",
		"/var/lib/acme/4711/part-0003.bin: no such file":             "/var/lib/acme/<num>/part-<num>.bin: no such file",
		"0xZZ, 0x, 3rd, 2xx and 12abc":                               "<num>xZZ, <num>x, <num>rd, <num>xx and <num>abc",
		"goroutine 12 [running]: main.f(0xc000012345)":               "goroutine <num> [running]: main.f(<hex>)",
		"main.go:123:7: undefined: x":                                "main.go:<num>:<num>: undefined: x",
		"panic: runtime error: index out of range [7] with length 3": "panic: runtime error: index out of range [<num>] with length <num>",
	},
	"numbers": {
		"overdrawn by 12.50":                        "overdrawn by <num>",
		"-5 is below 0, (-5), a=-5, x-5, 3--5":      "<num> is below <num>, (<num>), a=<num>, x-<num>, <num>--<num>",
		"timeout after 999ms, 1.2s, 1m0.5s, 1h30m":  "timeout after <num>, <num>, <num>, <num>",
		"took 12µs, 5 s, PT1M30.5S":                 "took <num>, <num> s, <num>",
		"4KiB of 16MB (25%)":                        "<num> of <num> (<num>%)",
		"1e-9, 1.5E+10, 6e23":                       "<num>, <num>, <num>",
		"version 1.2.3 is not 1.2.3-rc.1 or 2.0rc1": "version <num> is not <num>-rc.<num> or <num>.<num>rc<num>",
		"HTTP/1.1 503":                              "HTTP/<num> <num>",
		"ids [1 2 3], 1,2":                          "ids [<num> <num> <num>], <num>,<num>",
		"step 5.":                                   "step <num>.",
	},
	"times": {
		"closed at 2026-11-22T19:08:35Z":                    "closed at <time>",
		"closed at 2026-11-22T19:08:35.123456+01:00, again": "closed at <time>, again",
		"at 2026-11-22 19:08:35,123 ERROR":                  "at <time> ERROR",
		"2026/11/22 19:08:35 listen":                        "<time> listen",
		"on 2026-11-22.":                                    "on <time>.",
		"2024-01-02 15:04:05.99 +0000 UTC m=+0.001 is past": "<time> is past",
		"Mon, 02 Jan 2006 15:04:05 GMT":                     "<time>",
		"Mon Jan  2 15:04:05 2006":                          "<time>",
		"Mon Jan  2 15:04:05 MST 2006":                      "<time>",
		"Jan  2 15:04:05 host sshd":                         "<time> host sshd",
		"valid until January 2, 2006; May 5":                "valid until <time>; <time>",
		"[10/Oct/2000:13:55:36 -0700] GET":                  "[<time>] GET",
		"31.12.2026 23:59 and 12/31/2026":                   "<time> and <time>",
		"20260102T150405Z":                                  "<time>",
		"at 15:04:05.123 sharp":                             "at <time> sharp",
		"May be, March on, Sat down":                        "May be, March on, Sat down",
		"order-2024-01-02 and 2024-13-45":                   "order-<time> and <num>-<num>-<num>",
		"certificate expired: current time 2026-11-22T19:08:35Z is after 2025-01-01T00:00:00Z": "certificate expired: current time <time> is after <time>",
	},
	"addresses": {
		"dial tcp 10.0.3.17:5432: connect: connection refused":               "dial tcp <addr>: connect: connection refused",
		"read tcp 10.0.0.1:54321->10.0.0.2:5672: i/o timeout":                "read tcp <addr>-><addr>: i/o timeout",
		"dial tcp [2001:db8::17]:5432: connect: no route to host":            "dial tcp <addr>: connect: no route to host",
		"ping ::1, fe80::1%eth0 and 2001:db8:0:0:0:0:0:1.":                   "ping <addr>, <addr> and <addr>.",
		"std::string abc::def a::b, key: value, time::now":                   "std::string abc::def a::b, key: value, time::now",
		"300.1.2.3 and 1.2.3.4.5":                                            "<num> and <num>",
		"dial tcp: lookup db-3.internal on 10.0.0.2:53: no such host":        "dial tcp: lookup db-<num>.internal on <addr>: no such host",
		"dial db-3.acme.internal:5432: refused, localhost:80, postgres:5432": "dial <addr>: refused, <addr>, postgres:<num>",
		"mail to jane.doe+x@mail.acme.com. failed":                           "mail to <addr>. failed",
		"GET https://api.acme.com:8443/v1/orders/4711?trace=abc#x: 503":      "GET https://<addr>/v1/orders/<num>?<text>: <num>",
		"postgres://warren:secret@db-1:5432/warren is away":                  "postgres://<addr>/warren is away",
		"see http://[::1]:80/x?, (amqp://guest:guest@mq) and file:///tmp/a1": "see http://<addr>/x?, (amqp://<addr>) and file:///tmp/a1",
	},
	"quotes": {
		`line 3: unexpected "token 17"`:   `line <num>: unexpected <text>`,
		`user 'u17' may not do this`:      `user <text> may not do this`,
		"field `a.b` and ''":              "field <text> and <text>",
		`{"id": 12, "name": "a \"b\" c"}`: `{<text>: <num>, <text>: <text>}`,
		`desc = "a 'quoted' text" end`:    `desc = <text> end`,
		`it's 'x', isn't it`:              `it's <text>, isn't it`,
		`5" and 'open`:                    `<num>" and 'open`,
		`C:\temp\x "a\\" b`:               `C:\temp\x <text> b`,
		`say \"no\" to <num> and <nil>`:   `say \"no\" to <num> and <nil>`,
	},
	"grpc": {
		`rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 10.1.2.3:443: connect: connection refused"`: `rpc error: code = Unavailable desc = connection error: desc = <text>`,
		`rpc error: code = DeadlineExceeded desc = context deadline exceeded after 4.998s`:                                                                   `rpc error: code = DeadlineExceeded desc = context deadline exceeded after <num>`,
		`grpc: received message larger than max (5242881 vs. 4194304)`:                                                                                       `grpc: received message larger than max (<num> vs. <num>)`,
		`stream terminated by RST_STREAM with error code: 2`:                                                                                                 `stream terminated by RST_STREAM with error code: <num>`,
	},
	"go": {
		`Get "https://api.acme.com/v1": net/http: TLS handshake timeout`:             `Get <text>: net/http: TLS handshake timeout`,
		`open /tmp/warren-3141592653/a.db: permission denied`:                        `open /tmp/warren-<num>/a.db: permission denied`,
		`strconv.Atoi: parsing "12a": invalid syntax`:                                `strconv.Atoi: parsing <text>: invalid syntax`,
		`json: cannot unmarshal string into Go struct field Order.id of type int64`:  `json: cannot unmarshal string into Go struct field Order.id of type int64`,
		`context deadline exceeded (Client.Timeout exceeded while awaiting headers)`: `context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
	},
	"postgres": {
		`ERROR: duplicate key value violates unique constraint "users_email_key" (SQLSTATE 23505)`:                 `ERROR: duplicate key value violates unique constraint <text> (SQLSTATE <num>)`,
		`DETAIL:  Key (email)=(jane@acme.com) already exists.`:                                                     `DETAIL: Key (email)=(<addr>) already exists.`,
		`ERROR: deadlock detected: Process 4711 waits for ShareLock on transaction 8712; blocked by process 4712.`: `ERROR: deadlock detected: Process <num> waits for ShareLock on transaction <num>; blocked by process <num>.`,
		`canceling statement due to statement timeout (SQLSTATE 57014)`:                                            `canceling statement due to statement timeout (SQLSTATE <num>)`,
		`invalid input syntax for type uuid: "x" at character 17`:                                                  `invalid input syntax for type uuid: <text> at character <num>`,
	},
	"python": {
		`KeyError: 'customer_17'`: `KeyError: <text>`,
		`<_InactiveRpcError of RPC that terminated with: status = StatusCode.UNAVAILABLE, debug_error_string = "UNKNOWN:failed to connect {created_time:\"2026\"}">`: `<_InactiveRpcError of RPC that terminated with: status = StatusCode.UNAVAILABLE, debug_error_string = <text>>`,
		"Traceback (most recent call last):\n  File \"/app/main.py\", line 17, in run\nValueError: invalid literal for int() with base 10: 'x'":                      `Traceback (most recent call last): File <text>, line <num>, in run ValueError: invalid literal for int() with base <num>: <text>`,
		`[Errno 111] Connection refused`:                                                                   `[Errno <num>] Connection refused`,
		`<Thread(worker-3, started 140735) at 0x7f3c2a1b>`:                                                 `<Thread(worker-<num>, started <num>) at <hex>>`,
		`HTTPSConnectionPool(host='a.b', port=443): Max retries exceeded with url: /v1/x/17 (Caused by X)`: `HTTPSConnectionPool(host=<text>, port=<num>): Max retries exceeded with url: /v1/x/<num> (Caused by X)`,
	},
	"java": {
		"java.lang.NullPointerException: Cannot invoke \"com.acme.Order.getId()\" because \"<local4>\" is null":                  "java.lang.NullPointerException: Cannot invoke <text> because <text> is null",
		"java.sql.SQLTransientConnectionException: HikariPool-1 - Connection is not available, request timed out after 30000ms.": "java.sql.SQLTransientConnectionException: HikariPool-<num> - Connection is not available, request timed out after <num>.",
		"at com.acme.Orders.find(Orders.java:117) ~[acme-1.4.2.jar:?]":                                                           "at com.acme.Orders.find(Orders.java:<num>) ~[acme-<num>.jar:?]",
		"Index 5 out of bounds for length 3":                             "Index <num> out of bounds for length <num>",
		"org.acme.Lock@6d06d69c held by Thread[pool-3-thread-17,5,main]": "org.acme.Lock@<hex> held by Thread[pool-<num>-thread-<num>,<num>,main]",
	},
}

func TestNormalize(t *testing.T) {
	t.Parallel()
	for kind, cases := range messages {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			for give, want := range cases {
				require.Equal(t, want, fingerprint.Normalize(give), give)
				require.Equal(t, want, fingerprint.Normalize(want), "of what was normalized")
			}
		})
	}
}

func TestNormalizeBoundsTheMessage(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", fingerprint.MaxMessage/2-1) + "x"
	require.Equal(t, long, fingerprint.Normalize(long+"äbc"), "no character is cut in two")
	require.Equal(t, "a\uFFFDb\uFFFDc", fingerprint.Normalize("a\x00b\xff\xfec"), "as it is stored")
}
