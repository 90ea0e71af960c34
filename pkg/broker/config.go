package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"go.opentelemetry.io/otel/metric"
)

// Limits of the wire.
const (
	// MaxMessageBytes is the largest body that Warren publishes, below
	// RabbitMQ's default max_message_size of 16 MiB.
	MaxMessageBytes = 15 << 20
	// DefaultNamespace prefixes every name in RabbitMQ.
	DefaultNamespace = "warren"
	// DefaultURL is a broker on this machine with RabbitMQ's own defaults.
	DefaultURL = "amqp://guest:guest@127.0.0.1:5672/"
)

// Config says which RabbitMQ to use.
type Config struct {
	// URLs are the addresses of one cluster's nodes, amqp: or amqps:, tried in
	// turn. Default [DefaultURL].
	URLs []string
	// Namespace prefixes the names of all exchanges and queues, so that two
	// installations can share a vhost. Default [DefaultNamespace].
	Namespace string
	// Name is shown as the connections' name in RabbitMQ's management.
	Name string
	// Logger is where connections report; default slog's.
	Logger *slog.Logger
	// MeterProvider is where connections and publishes are measured; default otel's
	// global one.
	MeterProvider metric.MeterProvider
}

// Validate says what is wrong with the configuration and fills in defaults.
func (c *Config) Validate() error {
	if len(c.URLs) == 0 {
		c.URLs = []string{DefaultURL}
	}
	for _, u := range c.URLs {
		if _, err := parseAddress(u); err != nil {
			return err
		}
	}
	if c.Namespace == "" {
		c.Namespace = DefaultNamespace
	}
	if err := validateNamespace(c.Namespace); err != nil {
		return err
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// Names are the names that this configuration gives exchanges and queues.
func (c *Config) Names() Names { return Names{c.Namespace} }

func validateNamespace(s string) error {
	if len(s) > 32 {
		return fmt.Errorf("namespace %q is longer than 32 characters", s)
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return fmt.Errorf("namespace %q: only a-z, 0-9, - and _ are allowed", s)
		}
	}
	return nil
}

// address is one node, for both protocols.
type address struct {
	amqp091.URI
	raw string
}

// parseAddress never repeats the URL in its error: it may hold a password.
func parseAddress(url string) (address, error) {
	u, err := amqp091.ParseURI(url)
	if err != nil || !strings.Contains(url, "://") {
		return address{}, errors.New("an AMQP URL is not of the form amqp://USER:PASSWORD@HOST:PORT/VHOST")
	}
	return address{u, url}, nil
}

// String is safe to log.
func (a address) String() string {
	return a.Scheme + "://" + a.hostPort() + "/" + a.Vhost
}

func (a address) hostPort() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

// tls is the configuration that the URL asks for, by the same parameters for
// both protocols (cacertfile, certfile, keyfile, server_name_indication); nil
// without TLS.
func (a address) tls() (*tls.Config, error) {
	if a.Scheme != "amqps" {
		return nil, nil
	}
	cfg := &tls.Config{ServerName: a.ServerName, MinVersion: tls.VersionTLS12}
	if cfg.ServerName == "" {
		cfg.ServerName = a.Host
	}
	if a.CACertFile != "" {
		pem, err := os.ReadFile(a.CACertFile)
		if err != nil {
			return nil, fmt.Errorf("read the broker's certificate authority: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", a.CACertFile)
		}
	}
	if a.CertFile != "" || a.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(a.CertFile, a.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load the client's certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
