// Package cli reads the command lines of Warren's binaries: flags, and equally
// the environment variable WARREN_<FLAG> of each. What it does not know is an
// error, so that a misspelt setting is never silently ignored.
package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/warrenmq/warren/pkg/telemetry"
)

// prefix of the environment variables.
const prefix = "WARREN"

// Parse fills app, a struct as kong reads it, from args and the environment.
// --help and --version print and exit.
func Parse(app any, name, description, version string, args []string) (*kong.Context, error) {
	parser, err := kong.New(app,
		kong.Name(name),
		kong.Description(description),
		kong.DefaultEnvars(prefix),
		kong.UsageOnError(),
		kong.Vars{"version": name + " " + version},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.ValueFormatter(describe),
	)
	if err != nil {
		return nil, fmt.Errorf("describe the command line of %s: %w", name, err)
	}
	if err := checkEnvironment(parser.Model.Node, os.Environ()); err != nil {
		return nil, err
	}
	return parser.Parse(args)
}

// describe adds a flag's default where its placeholder hides it.
func describe(v *kong.Value) string {
	text := kong.DefaultHelpValueFormatter(v)
	if v.Flag == nil || v.Flag.PlaceHolder == "" || v.Default == "" {
		return text
	}
	return text + " Default: " + v.Default
}

// checkEnvironment refuses WARREN_ variables that no flag reads.
func checkEnvironment(root *kong.Node, environ []string) error {
	known := map[string]bool{}
	_ = kong.Visit(root, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			for _, env := range flag.Envs {
				known[env] = true
			}
		}
		return next(nil)
	})
	var keys []string
	for _, entry := range environ {
		if key, _, _ := strings.Cut(entry, "="); strings.HasPrefix(key, prefix+"_") {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		if !known[key] && !isServiceLink(key, keys) {
			return fmt.Errorf("the environment variable %s is unknown; known are %s", key, strings.Join(sortedKeys(known), ", "))
		}
	}
	return nil
}

func sortedKeys(m map[string]bool) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Log are the flags of a process's log.
type Log struct {
	LogLevel  slog.Level `help:"Log level: debug, info, warn or error." default:"info"`
	LogFormat string     `help:"Log format: text or json." enum:"text,json" default:"text"`
}

// Logger logs to w as the flags say.
func (l Log) Logger(w io.Writer) *slog.Logger {
	return telemetry.NewLogger(w, l.LogLevel, l.LogFormat == "json")
}

// Broker are the flags that say which RabbitMQ to use.
type Broker struct {
	AMQPURL   []string `name:"amqp-url" help:"RabbitMQ's nodes, tried in turn; repeatable, or separated by spaces." sep:" " default:"amqp://guest:guest@127.0.0.1:5672/" placeholder:"URL"`
	Namespace string   `help:"Prefix of the names of all exchanges and queues." default:"warren"`
}

// Version is the flag that prints the version and exits.
type Version struct {
	Version kong.VersionFlag `help:"Print the version and exit." env:"-"`
}

// Fail says why a process can't go on, and ends it with exit code 1.
func Fail(name string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	os.Exit(1)
}
