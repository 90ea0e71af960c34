package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/ports/porttest"
)

// selectors are the metrics that alert rules look at, each with the labels that it must
// have.
func selectors(t *testing.T) map[string]map[string]bool {
	t.Helper()
	b, err := os.ReadFile("../alerts/warren.rules.yml")
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Rules []struct {
				Expr        string
				Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(b, &file))
	found := map[string]map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			names := metricsOf(r.Expr, found)
			// A label that an alert speaks of must be one of what it is raised by.
			for _, text := range r.Annotations {
				for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
					for _, name := range names {
						found[name][m[1]] = true
					}
				}
			}
		}
	}
	require.NotEmpty(t, found)
	return found
}

// Parts of PromQL, as far as it is needed to tell its metrics from all other names.
var (
	// grouping is the list of labels of `without (…)` and its like.
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	// selector is a name with its matchers, or a function with its parenthesis.
	selector = regexp.MustCompile(`([a-zA-Z_:][\w:]*)(\s*\(|\s*\{(?:[^}"]|"[^"]*")*\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	window   = regexp.MustCompile(`\[[^\]]*\]|\boffset\s+\w+`)
	numeral  = regexp.MustCompile(`\b[0-9][\w.]*`)
	word     = regexp.MustCompile(`^(?:and|or|unless|bool|sum|min|max)$`)
)

// metricsOf adds the metrics of an expression, with the labels that it matches, and gives
// their names.
func metricsOf(expr string, found map[string]map[string]bool) (names []string) {
	for _, other := range []*regexp.Regexp{grouping, window, numeral} {
		expr = other.ReplaceAllString(expr, " ")
	}
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		if word.MatchString(m[1]) || strings.HasSuffix(m[2], "(") {
			continue
		}
		names = append(names, m[1])
		if found[m[1]] == nil {
			found[m[1]] = map[string]bool{}
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			// One that must be absent, or may be, is none that the metric has to have.
			if l[2] == "=" || l[2] == "=~" {
				found[m[1]][l[1]] = true
			}
		}
	}
	return names
}

func TestAlertsMetricsOf(t *testing.T) {
	t.Parallel()
	found := map[string]map[string]bool{}
	names := metricsOf(`sum without (instance, x_y) (rate(a_total{b="1,}", c!="2"}[5m] offset 5m)) > 0.5e1
		and on (job) max_over_time(d:e[2m]) == 1 or absent(f{g=~"h|i"}) unless f`, found)
	require.Equal(t, []string{"a_total", "d:e", "f", "f"}, names)
	require.Equal(t, map[string]map[string]bool{"a_total": {"b": true}, "d:e": {}, "f": {"g": true}}, found)
}

// scraped are the metrics of processes, each with the labels that any of its series has.
func scraped(ctx context.Context, addresses ...string) (map[string]map[string]bool, error) {
	found := map[string]map[string]bool{}
	series := regexp.MustCompile(`^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$`)
	label := regexp.MustCompile(`(\w+)="(?:[^"\\]|\\.)*"`)
	for _, address := range addresses {
		text, err := get(ctx, "http://"+address+"/metrics")
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(text) {
			m := series.FindSubmatch(bytes.TrimSpace(line))
			if m == nil {
				continue
			}
			name := string(m[1])
			if found[name] == nil {
				// Prometheus adds these to all.
				found[name] = map[string]bool{"job": true, "instance": true}
			}
			for _, l := range label.FindAllSubmatch(m[2], -1) {
				found[name][string(l[1])] = true
			}
		}
	}
	return found, nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", url, response.Status, body)
	}
	return body, err
}

// A rule whose metric, or label, nothing emits would never fire.
func TestAlertsWatchWhatIsEmitted(t *testing.T) {
	t.Parallel()
	gateway, deadletter, worker := porttest.Address(t), porttest.Address(t), porttest.Address(t)
	f := forward(t, demoTarget, []string{"--metrics-listen", worker}, withFlags("--metrics-listen", gateway))
	channel := filepath.Join(t.TempDir(), "chat.url")
	require.NoError(t, os.WriteFile(channel, []byte("generic://127.0.0.1:1/?disabletls=yes\n"), 0o600))
	f.startDeadletter(t, "--metrics-listen", deadletter, "--notify", "chat="+channel)
	f.awaitReady(t, typeFail)
	f.failAndFire(t)

	wanted := selectors(t)
	delete(wanted, "up") // Prometheus's own
	brokertest.Eventually(t, time.Minute, func() error {
		emitted, err := scraped(t.Context(), gateway, deadletter, worker)
		if err != nil {
			return err
		}
		var missing []string
		for _, name := range slices.Sorted(maps.Keys(wanted)) {
			labels := emitted[name]
			if labels == nil {
				missing = append(missing, name)
				continue
			}
			for label := range wanted[name] {
				if !labels[label] {
					missing = append(missing, name+"{"+label+"}")
				}
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("no process emits %s", strings.Join(missing, ", "))
		}
		return nil
	})
}

// failAndFire has happen what metrics are there for only once it has: a task that is
// retried and dies, and waits for longer than it may, and a schedule that fires.
func (f *forwarding) failAndFire(t testing.TB) {
	t.Helper()
	dead := f.ask(t, typeFail, fail(codes.Unavailable, "no"), func(r *taskv1.SubmitTaskRequest) { r.Retry = quickly(2) })
	f.deadLetter(t, f.await(t, dead.TaskId).TaskId, open)
	f.setPolicy(t, &deadletterv1.DeadLetterPolicy{TaskType: "*", BreachAge: durationpb.New(time.Millisecond)}, "breach_age")
	_, err := f.admin.CreateSchedule(t.Context(), &adminv1.CreateScheduleRequest{Reason: "to see it fire", Schedule: &adminv1.Schedule{
		ScheduleId: "yearly", When: &adminv1.Schedule_Cron{Cron: "0 0 1 1 *"}, Task: &taskv1.SubmitTaskRequest{Type: typeFail, Payload: payload(t, &demov1.FailRequest{})},
	}})
	require.NoError(t, err)
	_, err = f.admin.TriggerSchedule(t.Context(), &adminv1.TriggerScheduleRequest{ScheduleId: "yearly", Reason: "now"})
	require.NoError(t, err)
}
