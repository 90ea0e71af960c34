package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// composeFile is what Docker Compose reads in docker-compose.yml, of which the
// tests look at this.
type composeFile struct {
	Services map[string]composeService
	Volumes  map[string]any
}

type composeService struct {
	Image string
	Build *struct{ Context, Dockerfile, Target string }
	// Command are the flags: the image's entry point is the binary.
	Command     []string
	Ports       []composePort
	Volumes     []any
	Healthcheck struct{ Test []string }
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Restart     string
	StopGrace   string `yaml:"stop_grace_period"`
}

// composePort is a published port, as either generation of Compose prints it.
type composePort struct {
	HostIP string `yaml:"host_ip"`
	Target string
}

// UnmarshalYAML reads "IP:PUBLISHED:TARGET/tcp" too.
func (p *composePort) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		type fields composePort
		return n.Decode((*fields)(p))
	}
	parts := strings.Split(strings.TrimSuffix(n.Value, "/tcp"), ":")
	if len(parts) != 3 {
		return fmt.Errorf("the port %q names no address to publish it on", n.Value)
	}
	p.HostIP, p.Target = parts[0], parts[2]
	return nil
}

// readCompose has Docker Compose check and resolve the file.
func readCompose(t testing.TB) composeFile {
	t.Helper()
	command := []string{"docker", "compose"}
	if exec.CommandContext(t.Context(), "docker", "compose", "version").Run() != nil {
		command = []string{tool(t, "docker-compose", "Docker Compose; Debian: docker-compose")}
	}
	cmd := exec.CommandContext(t.Context(), command[0], append(command[1:], "--file", "../../docker-compose.yml", "config")...)
	cmd.Env = cleanEnv()
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
		require.Fail(t, "Compose refuses the file", "%s", exit.Stderr)
	}
	var file composeFile
	require.NoError(t, yaml.Unmarshal(out, &file))
	return file
}

// ours are the services that are built from this repository.
func (f composeFile) ours() map[string]composeService {
	own := map[string]composeService{}
	for name, s := range f.Services {
		if s.Build != nil {
			own[name] = s
		}
	}
	return own
}

// composeBinary is the entry point of a service's image.
func composeBinary(t testing.TB, s composeService) string {
	t.Helper()
	binary := map[string]string{"gateway": gatewayBinary, "deadletter": deadletterBinary, "worker": forwarderBinary, "demo": demoBinary}[s.Build.Target]
	require.NotEmpty(t, binary, "the target %s has no binary", s.Build.Target)
	return binary
}

func TestComposeFile(t *testing.T) {
	t.Parallel()
	file := readCompose(t)
	require.Contains(t, file.Services, "rabbitmq", "`make demo` starts it by this name")
	own := file.ours()
	require.Len(t, own, 4)
	for name, s := range file.Services {
		require.True(t, s.Build != nil || s.Image != "", name)
		require.NotEmpty(t, s.Healthcheck.Test, name)
		require.NotEmpty(t, s.Restart, name)
		require.NotEmpty(t, s.StopGrace, name)
		for _, p := range s.Ports {
			require.Equal(t, "127.0.0.1", p.HostIP, "%s is published beyond this machine", name)
		}
		for needed, how := range s.DependsOn {
			require.Contains(t, file.Services, needed, name)
			if how.Condition == "service_healthy" {
				require.NotEmpty(t, file.Services[needed].Healthcheck.Test, "%s can't be healthy", needed)
			}
		}
	}
	for name, s := range own {
		grace, err := time.ParseDuration(s.StopGrace)
		require.NoError(t, err, name)
		require.Greater(t, grace, 45*time.Second, "%s may take 30 s, 5 s and 10 s to stop", name)
		for _, f := range flagsOf(s.Command) {
			require.Contains(t, knownFlags(t, s), f, "%s has no such flag", name)
		}
		if strings.Contains(strings.Join(s.Command, " "), "sqlite:/data/") {
			require.Contains(t, fmt.Sprint(s.Volumes), name, "%s keeps its store in its container", name)
			require.Contains(t, fmt.Sprint(s.Volumes), "/data", name)
		}
		require.Equal(t, "/healthcheck", s.Healthcheck.Test[1], name)
		require.Regexp(t, `^127\.0\.0\.1:|^http://127\.0\.0\.1:`, s.Healthcheck.Test[2], "%s is asked within its container", name)
	}
	for _, volume := range []string{"rabbitmq", "gateway", "deadletter"} {
		require.Contains(t, file.Volumes, volume)
	}
}

var flagName = regexp.MustCompile(`--[a-z][a-z0-9-]*`)

func flagsOf(command []string) []string {
	var flags []string
	for _, arg := range command {
		if strings.HasPrefix(arg, "--") {
			flags = append(flags, flagName.FindString(arg))
		}
	}
	return flags
}

// knownFlags are those in the binary's own help, for its command if it has some.
func knownFlags(t testing.TB, s composeService) []string {
	t.Helper()
	var args []string
	if len(s.Command) > 0 && !strings.HasPrefix(s.Command[0], "-") {
		args = s.Command[:1]
	}
	cmd := exec.CommandContext(t.Context(), composeBinary(t, s), append(slices.Clone(args), "--help")...)
	cmd.Env = cleanEnv()
	return flagName.FindAllString(string(output(t, cmd)), -1)
}

// The images build with the Go that go.mod asks for, every binary that Compose
// runs and no folder that .dockerignore keeps out.
func TestComposeDockerfile(t *testing.T) {
	t.Parallel()
	read := func(file string) string {
		b, err := os.ReadFile(filepath.Join("../..", file))
		require.NoError(t, err)
		return string(b)
	}
	dockerfile := read("services/Dockerfile")
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read("go.mod"))[1]
	require.Contains(t, dockerfile, "ARG GO_VERSION="+version+"\n")
	require.Regexp(t, `(?m)^USER [1-9][0-9]*:[1-9][0-9]*$`, dockerfile, "not root, and by number")
	for name, s := range readCompose(t).ours() {
		require.Equal(t, "services/Dockerfile", s.Build.Dockerfile, name)
		require.Regexp(t, `(?m)^FROM \S+ AS `+s.Build.Target+`$`, dockerfile)
		require.Regexp(t, `(?m)^ENTRYPOINT \["/`+s.Build.Target+`"\]$`, dockerfile)
	}
	packages := regexp.MustCompile(`\./services/[a-z]+`).FindAllString(dockerfile, -1)
	require.Len(t, packages, 5)
	list := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-f", "{{with .Module}}{{if .Main}}{{$.ImportPath}}{{end}}{{end}}"}, packages...)...)
	list.Dir = "../.."
	ignored := regexp.MustCompile(`(?m)^services/[a-z0-9]+$`).FindAllString(read(".dockerignore"), -1)
	require.NotEmpty(t, ignored)
	for _, needed := range strings.Fields(string(output(t, list))) {
		path := strings.TrimPrefix(needed, "github.com/warrenmq/warren/")
		require.Regexp(t, `^(gen|pkg|services)/`, path, "is not copied into the build")
		for _, folder := range ignored {
			require.False(t, strings.HasPrefix(path+"/", folder+"/"), "%s is needed and kept out by .dockerignore", path)
		}
	}
}

// TestComposeCommandsWork runs what the containers run, with an address for each
// in place of its name, until the health checks find them well.
func TestComposeCommandsWork(t *testing.T) {
	t.Parallel()
	file := readCompose(t)
	p := newComposition(t, file)
	for name, s := range file.ours() {
		p.start(t, name, s)
	}
	for name, s := range file.ours() {
		p.awaitHealthy(t, name, s, 30*time.Second)
	}
	p.checkTaskWorks(t)
}
