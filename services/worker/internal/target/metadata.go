package target

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// rereadPeriod is the time between two looks at whether the file has changed.
const rereadPeriod = time.Second

// transportKeys can't be set: the transport makes its own.
var transportKeys = []string{"content-type", "user-agent", "te", "host", "connection"}

// Metadata is what goes out with every call, to authenticate this process at the
// servers: a file's lines `key: value`, in which empty ones and those that begin
// with # do not count. The value of a key that ends in -bin is in base64. The file
// is read again when it has changed; while it can't be, what it had stays.
type Metadata struct {
	file string
	log  *slog.Logger

	mu     sync.Mutex
	values map[string]string
	looked time.Time
	read   version
	// failing: the last look was in vain.
	failing bool
}

// version tells a file's contents apart.
type version struct {
	time time.Time
	size int64
}

var _ credentials.PerRPCCredentials = (*Metadata)(nil)

// ReadMetadata reads the file. Errors: it can't be read, or its first line that
// is wrong, by number; never what it says.
func ReadMetadata(file string, log *slog.Logger) (*Metadata, error) {
	m := &Metadata{file: file, log: log}
	if err := m.load(); err != nil {
		return nil, fmt.Errorf("--metadata-file: %w", err)
	}
	return m, nil
}

// GetRequestMetadata implements [credentials.PerRPCCredentials].
func (m *Metadata) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return m.current(), nil
}

// RequireTransportSecurity implements [credentials.PerRPCCredentials]: whether to
// have TLS is who sets it up to decide.
func (m *Metadata) RequireTransportSecurity() bool { return false }

func (m *Metadata) has(key string) bool {
	_, ok := m.current()[key]
	return ok
}

// current is what the file says now. It must not be modified.
func (m *Metadata) current() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.looked) >= rereadPeriod {
		err := m.load()
		if err != nil && !m.failing {
			m.log.Warn("the metadata file can't be read again, what it had before stays in force", "error", err)
		}
		m.failing = err != nil
	}
	return m.values
}

// load reads the file unless it is as it was.
func (m *Metadata) load() error {
	m.looked = time.Now()
	info, err := os.Stat(m.file)
	if err != nil {
		return err
	}
	found := version{info.ModTime(), info.Size()}
	if m.values != nil && found == m.read {
		return nil
	}
	content, err := os.ReadFile(m.file)
	if err != nil {
		return err
	}
	values, err := parseMetadata(string(content))
	if err != nil {
		return fmt.Errorf("%s: %w", m.file, err)
	}
	m.values, m.read = values, found
	return nil
}

func parseMetadata(content string) (map[string]string, error) {
	values := map[string]string{}
	number := 0
	for line := range strings.Lines(content) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, err := parseEntry(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("line %d: %s is there twice", number, key)
		}
		values[key] = value
	}
	return values, nil
}

// parseEntry does not repeat the line in its errors: it may be a secret.
func parseEntry(line string) (key, value string, err error) {
	key, value, ok := strings.Cut(line, ":")
	if !ok || key == "" {
		return "", "", errors.New("must be `key: value`")
	}
	key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
	if err := checkKey(key); err != nil {
		return "", "", err
	}
	if strings.HasSuffix(key, "-bin") {
		raw, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return "", "", fmt.Errorf("the value of %s must be in base64", key)
		}
		return key, string(raw), nil
	}
	for _, c := range []byte(value) {
		if c < 0x20 || c > 0x7E {
			return "", "", fmt.Errorf("the value of %s must be printable ASCII; others need a key that ends in -bin", key)
		}
	}
	return key, value, nil
}

func checkKey(key string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-_."
	if strings.Trim(key, allowed) != "" {
		return errors.New("a key has letters, digits and -_. only")
	}
	if slices.Contains(transportKeys, key) || strings.HasPrefix(key, "grpc-") || strings.HasPrefix(key, "warren-") {
		return fmt.Errorf("%s can't be set", key)
	}
	return nil
}
