package alerts_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	_ "github.com/warrenmq/warren/gen/warren/admin/v1"
	_ "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	_ "github.com/warrenmq/warren/gen/warren/task/v1"
)

const (
	rulesFile = "warren.rules.yml"
	testFile  = "warren.test.yml"
	handbook  = "README.md"
)

// rule is what these tests look at of an alert rule.
type rule struct {
	Alert       string
	Labels      map[string]string
	Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	decode(t, rulesFile, &file)
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	require.NotEmpty(t, all)
	return all
}

func decode(t *testing.T, file string, into any) {
	t.Helper()
	require.NoError(t, yaml.Unmarshal([]byte(read(t, file)), into))
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

func TestRules(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		const missing = "promtool is not installed (Debian's package prometheus has it)"
		if os.Getenv("E2E_REQUIRE_TOOLS") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", testFile}} {
		out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput()
		require.NoError(t, err, "promtool %s:\n%s", strings.Join(args, " "), out)
	}
}

func TestEachAlertIsTestedBothWays(t *testing.T) {
	t.Parallel()
	var file struct {
		Tests []struct {
			Cases []struct {
				Alert    string `yaml:"alertname"`
				Expected []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	decode(t, testFile, &file)
	fires, stays := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		quiet := map[string]bool{}
		for _, c := range test.Cases {
			if len(c.Expected) > 0 {
				fires[c.Alert], quiet[c.Alert] = true, false
			} else if _, known := quiet[c.Alert]; !known {
				quiet[c.Alert] = true
			}
		}
		for alert, yes := range quiet {
			stays[alert] = stays[alert] || yes
		}
	}
	for _, r := range rules(t) {
		require.True(t, fires[r.Alert], "no case in which %s fires", r.Alert)
		require.True(t, stays[r.Alert], "no test in which %s does not fire", r.Alert)
	}
}

func TestEachAlertSaysWhatToDo(t *testing.T) {
	t.Parallel()
	text := read(t, handbook)
	var sections []string
	for _, r := range rules(t) {
		require.Contains(t, []string{"critical", "warning"}, r.Labels["severity"], r.Alert)
		for _, key := range []string{"summary", "description", "runbook"} {
			require.NotEmpty(t, r.Annotations[key], "%s of %s", key, r.Alert)
		}
		require.NotContains(t, r.Annotations["runbook"], "\n", "the runbook of %s is one line", r.Alert)
		sections = append(sections, r.Alert)
	}
	var headings []string
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)\n\n(.+\n)+`).FindAllStringSubmatch(text, -1) {
		headings = append(headings, m[1])
		for _, part := range []string{"First\\s+look:", "Usual\\s+causes:", "Remedy:"} {
			require.Regexp(t, part, m[0])
		}
	}
	require.Equal(t, slices.Compact(sections), headings, "README.md has a section for each alert, in the order of the rules")
}

// placeholder is a part of a text that Prometheus puts in.
var placeholder = regexp.MustCompile(`\{\{[^}]*\}\}`)

func TestRunbooksCanBeTyped(t *testing.T) {
	t.Parallel()
	call := regexp.MustCompile(`^grpcurl -plaintext -d '(.*)' (GATEWAY:7070|DEADLETTER:7071) ([\w.]+)/(\w+)$`)
	calls := 0
	for _, r := range rules(t) {
		line := placeholder.ReplaceAllString(r.Annotations["runbook"], "acme.v1.Images.Resize")
		if !strings.HasPrefix(line, "grpcurl") {
			continue
		}
		m := call.FindStringSubmatch(line)
		require.NotNil(t, m, "%s: %s", r.Alert, line)
		require.Equal(t, strings.Contains(m[3], "DeadLetter"), m[2] == "DEADLETTER:7071", line)
		input := dynamicpb.NewMessage(method(t, m[3], m[4]).Input())
		require.NoError(t, protojson.Unmarshal([]byte(m[1]), input), "%s: %s", r.Alert, line)
		calls++
	}
	require.NotZero(t, calls)
}

func TestHandbookNamesOnlyRealMethods(t *testing.T) {
	t.Parallel()
	text := read(t, handbook)
	services := map[string]string{}
	for _, m := range regexp.MustCompile(`\b([TMD])=(\S+)`).FindAllStringSubmatch(text, -1) {
		services[m[1]] = m[2]
	}
	named := regexp.MustCompile(`\$([TMD])/(\w+)`).FindAllStringSubmatch(text, -1)
	require.NotEmpty(t, named)
	for _, m := range named {
		method(t, services[m[1]], m[2])
	}
}

// method is one of Warren's.
func method(t *testing.T, service, name string) protoreflect.MethodDescriptor {
	t.Helper()
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	require.NoError(t, err)
	found := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name))
	require.NotNil(t, found, "there is no method %s in %s", name, service)
	return found
}
