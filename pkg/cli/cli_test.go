package cli_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/cli"
)

// app has what the binaries have.
type app struct {
	cli.Broker
	cli.Log
	cli.Version

	Listen      string `default:"127.0.0.1:7070" placeholder:"ADDR"`
	StoreURL    string `name:"store-url" default:"sqlite:x.db"`
	Insecure    bool
	Concurrency int
	Grace       time.Duration `default:"30s"`
}

// clean takes Warren's settings out of the environment, until the test ends.
func clean(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if key, _, _ := strings.Cut(entry, "="); strings.HasPrefix(key, "WARREN_") {
			t.Setenv(key, "")
			require.NoError(t, os.Unsetenv(key))
		}
	}
}

func parse(t *testing.T, args ...string) (app, error) {
	t.Helper()
	var a app
	_, err := cli.Parse(&a, "thing", "A thing.", "v1", args)
	return a, err
}

func TestDefaults(t *testing.T) {
	clean(t)
	a, err := parse(t)
	require.NoError(t, err)
	require.Equal(t, app{
		Broker: cli.Broker{AMQPURL: []string{"amqp://guest:guest@127.0.0.1:5672/"}, Namespace: "warren"},
		Log:    cli.Log{LogLevel: slog.LevelInfo, LogFormat: "text"},
		Listen: "127.0.0.1:7070", StoreURL: "sqlite:x.db", Grace: 30 * time.Second,
	}, a)
}

// settings are flags, values, and what they do.
var settings = []struct {
	flag, env, value string
	get              func(app) any
	want             any
}{
	{"amqp-url", "WARREN_AMQP_URL", "amqp://a", func(a app) any { return a.AMQPURL }, []string{"amqp://a"}},
	{"namespace", "WARREN_NAMESPACE", "other", func(a app) any { return a.Namespace }, "other"},
	{"log-level", "WARREN_LOG_LEVEL", "debug", func(a app) any { return a.LogLevel }, slog.LevelDebug},
	{"log-format", "WARREN_LOG_FORMAT", "json", func(a app) any { return a.LogFormat }, "json"},
	{"listen", "WARREN_LISTEN", "127.0.0.1:0", func(a app) any { return a.Listen }, "127.0.0.1:0"},
	{"store-url", "WARREN_STORE_URL", "sqlite:y.db", func(a app) any { return a.StoreURL }, "sqlite:y.db"},
	{"insecure", "WARREN_INSECURE", "true", func(a app) any { return a.Insecure }, true},
	{"concurrency", "WARREN_CONCURRENCY", "7", func(a app) any { return a.Concurrency }, 7},
	{"grace", "WARREN_GRACE", "1m30s", func(a app) any { return a.Grace }, 90 * time.Second},
}

func TestEnvironmentEqualsFlag(t *testing.T) {
	for _, s := range settings {
		t.Run(s.flag, func(t *testing.T) {
			clean(t)
			byFlag, err := parse(t, "--"+s.flag+"="+s.value)
			require.NoError(t, err)
			require.Equal(t, s.want, s.get(byFlag))
			t.Setenv(s.env, s.value)
			byEnv, err := parse(t)
			require.NoError(t, err)
			require.Equal(t, byFlag, byEnv)
		})
	}
}

func TestFlagPrecedesEnvironment(t *testing.T) {
	clean(t)
	t.Setenv("WARREN_NAMESPACE", "environment")
	t.Setenv("WARREN_AMQP_URL", "amqp://environment")
	a, err := parse(t, "--namespace", "flag", "--amqp-url", "amqp://flag")
	require.NoError(t, err)
	require.Equal(t, "flag", a.Namespace)
	require.Equal(t, []string{"amqp://flag"}, a.AMQPURL)
}

func TestAMQPURLIsRepeatable(t *testing.T) {
	clean(t)
	a, err := parse(t, "--amqp-url", "amqp://a", "--amqp-url=amqp://b", "--amqp-url", "amqp://c")
	require.NoError(t, err)
	require.Equal(t, []string{"amqp://a", "amqp://b", "amqp://c"}, a.AMQPURL)
	t.Setenv("WARREN_AMQP_URL", "amqp://a amqp://b amqp://c")
	byEnv, err := parse(t)
	require.NoError(t, err)
	require.Equal(t, a.AMQPURL, byEnv.AMQPURL)
}

func TestUnknownSettingsAreErrors(t *testing.T) {
	clean(t)
	for _, args := range [][]string{{"--listne", "127.0.0.1:0"}, {"--listne=x"}, {"listne"}} {
		_, err := parse(t, args...)
		require.ErrorContains(t, err, "listne", "%v", args)
	}
	t.Setenv("WARREN_LISTNE", "127.0.0.1:0")
	_, err := parse(t)
	require.ErrorContains(t, err, "WARREN_LISTNE")
	require.ErrorContains(t, err, "WARREN_LISTEN", "the known ones are named")
	require.ErrorContains(t, err, "WARREN_AMQP_URL")
}

func TestUnknownVariableIsAnErrorEvenIfEmpty(t *testing.T) {
	clean(t)
	t.Setenv("WARREN_LISTNE", "")
	_, err := parse(t)
	require.ErrorContains(t, err, "WARREN_LISTNE")
}

// Kubernetes gives every container these for a Service called warren, or
// warren-gateway with a port called grpc.
func TestServiceLinksAreNoSettings(t *testing.T) {
	clean(t)
	for _, service := range []string{"WARREN", "WARREN_GATEWAY"} {
		for _, rest := range []string{
			"SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_GRPC", "SERVICE_PORT_HTTP_METRICS", "PORT",
			"PORT_7070_TCP", "PORT_7070_TCP_PROTO", "PORT_7070_TCP_PORT", "PORT_7070_TCP_ADDR", "PORT_53_UDP", "PORT_9_SCTP_ADDR",
		} {
			t.Setenv(service+"_"+rest, "tcp://10.0.0.1:7070")
		}
	}
	a, err := parse(t)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:7070", a.Listen)

	for _, typo := range []string{"WARREN_LISTEN_PORT", "WARREN_PORT_X", "WARREN_GATEWAY_HOST", "WARREN_PORT_7070_TCP_X", "WARREN_SERVICE_PORTS"} {
		t.Run(typo, func(t *testing.T) {
			t.Setenv(typo, "7070")
			_, err := parse(t)
			require.ErrorContains(t, err, typo)
		})
	}
}

// One that comes alone is a setting that somebody meant.
func TestAPortAloneIsNoServiceLink(t *testing.T) {
	clean(t)
	t.Setenv("WARREN_GATEWAY_PORT", "7070")
	_, err := parse(t)
	require.ErrorContains(t, err, "WARREN_GATEWAY_PORT")
}

func TestAFlagMayBeNamedLikeAServiceLink(t *testing.T) {
	clean(t)
	t.Setenv("WARREN_SERVICE_HOST", "10.0.0.1")
	t.Setenv("WARREN_PORT", "7")
	var a struct{ Port int }
	_, err := cli.Parse(&a, "thing", "A thing.", "v1", nil)
	require.NoError(t, err)
	require.Equal(t, 7, a.Port)
}

func TestOthersVariablesAreNoneOfOurs(t *testing.T) {
	clean(t)
	t.Setenv("WARRENS_LISTNE", "x")
	t.Setenv("MY_WARREN_LISTNE", "x")
	t.Setenv("LISTEN", "x")
	a, err := parse(t)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:7070", a.Listen)
}

func TestBadValuesNameTheirSetting(t *testing.T) {
	clean(t)
	for flag, value := range map[string]string{"grace": "soon", "concurrency": "many", "log-level": "loud", "log-format": "xml"} {
		_, err := parse(t, "--"+flag, value)
		require.ErrorContains(t, err, "--"+flag)
	}
	t.Setenv("WARREN_GRACE", "soon")
	_, err := parse(t)
	require.ErrorContains(t, err, "grace")
}

func TestLogFlags(t *testing.T) {
	clean(t)
	var out bytes.Buffer
	a, err := parse(t, "--log-level", "warn", "--log-format", "json")
	require.NoError(t, err)
	log := a.Logger(&out)
	log.Info("hidden")
	log.Warn("shown")
	require.NotContains(t, out.String(), "hidden")
	require.Contains(t, out.String(), `"msg":"shown"`)

	out.Reset()
	a, err = parse(t)
	require.NoError(t, err)
	a.Logger(&out).Info("shown")
	require.Contains(t, out.String(), "msg=shown")
}

// childEnv makes this test binary a program that does what its value says.
const childEnv = "CLI_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "fail":
		cli.Fail("thing", errors.New("no luck"))
	case "parse":
		var a app
		if _, err := cli.Parse(&a, "thing", "A thing.", "v1", os.Args[1:]); err != nil {
			cli.Fail("thing", err)
		}
	}
}

// child runs this test binary as a program.
func child(t *testing.T, what string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	clean(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func TestFailExitsWithOne(t *testing.T) {
	stdout, stderr, err := child(t, "fail")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 1, exit.ExitCode())
	require.Equal(t, "thing: no luck\n", stderr)
	require.Empty(t, stdout)
}

func TestVersionAndHelpExitWithZero(t *testing.T) {
	stdout, _, err := child(t, "parse", "--version")
	require.NoError(t, err)
	require.Equal(t, "thing v1\n", stdout)
	stdout, _, err = child(t, "parse", "--help")
	require.NoError(t, err)
	for _, s := range settings {
		require.Contains(t, stdout, "--"+s.flag)
		require.Contains(t, stdout, s.env, "help names the variable")
	}
	for _, value := range []string{"127.0.0.1:7070", "sqlite:x.db", "30s", "amqp://guest:guest@127.0.0.1:5672/", `"warren"`, `"text"`, "info"} {
		require.Contains(t, stdout, value, "help shows defaults, also beside a placeholder")
	}
}
