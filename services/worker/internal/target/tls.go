package target

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// TLS says how connections are secured. The zero value is not at all; any field
// that is set is TLS.
type TLS struct {
	Enabled bool
	// CAFile has the certificates, in PEM, of who vouches for the servers. Default
	// the system's.
	CAFile string
	// CertFile and KeyFile, in PEM, are what this process shows. They are read
	// with each connection, so that they can be replaced.
	CertFile, KeyFile string
	// ServerName is the name that the servers' certificates must have. Default the
	// target's.
	ServerName string
}

func (c TLS) none() bool { return c == TLS{} }

func (c TLS) credentials() (credentials.TransportCredentials, error) {
	if c.none() {
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{ServerName: c.ServerName, MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		roots, err := readCertificates(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		config.RootCAs = roots
	}
	if c.CertFile == "" && c.KeyFile == "" {
		return credentials.NewTLS(config), nil
	}
	if c.CertFile == "" || c.KeyFile == "" {
		return nil, errors.New("--tls-cert and --tls-key need each other")
	}
	own := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		return &pair, err
	}
	if _, err := own(nil); err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	config.GetClientCertificate = own
	return credentials.NewTLS(config), nil
}

func readCertificates(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return pool, nil
}
