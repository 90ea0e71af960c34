package target

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

// authority signs certificates for a test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	// File has its certificate.
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	a := &authority{certificate: parsed, key: key, file: filepath.Join(t.TempDir(), "ca.pem")}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// issue writes a certificate for a name, and its key.
func (a *authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &own.PublicKey, a.key)
	require.NoError(t, err)
	encoded, err := x509.MarshalECPrivateKey(own)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "EC PRIVATE KEY", encoded)
	return cert, key
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// secured serves with a certificate for a name, and asks for the clients' own if it
// is given who vouches for them.
func secured(t *testing.T, a *authority, name string, clients *authority) *targettest.Server {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(a.issue(t, name))
	require.NoError(t, err)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clients != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		config.ClientCAs.AddCert(clients.certificate)
	}
	return serving(t, targettest.Config{Options: []grpc.ServerOption{grpc.Creds(credentials.NewTLS(config))}}, "secret")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	server := secured(t, a, "acme.test", nil)
	names := []string{server.Addr}
	target := watched(t, Config{Names: names, TLS: TLS{CAFile: a.file, ServerName: "acme.test"}})
	awaitReady(t, target)
	answer, _, err := call(t, target)
	require.NoError(t, err)
	require.Equal(t, "secret", answer)

	t.Run("the name is checked", func(t *testing.T) {
		awaitTrouble(t, watched(t, Config{Names: names, TLS: TLS{CAFile: a.file}}), ErrUnreachable, "certificate")
	})
	t.Run("who vouches is checked", func(t *testing.T) {
		awaitTrouble(t, watched(t, Config{Names: names, TLS: TLS{CAFile: newAuthority(t).file, ServerName: "acme.test"}}), ErrUnreachable, "unknown authority")
	})
	t.Run("the system vouches by default", func(t *testing.T) {
		awaitTrouble(t, watched(t, Config{Names: names, TLS: TLS{Enabled: true, ServerName: "acme.test"}}), ErrUnreachable, "unknown authority")
	})
	t.Run("several are checked by the names given", func(t *testing.T) {
		two := secured(t, a, "localhost", nil)
		_, port, _ := splitPort(two.Addr)
		_, other, _ := splitPort(secured(t, a, "localhost", nil).Addr)
		awaitReady(t, watched(t, Config{Names: []string{"localhost:" + port, "localhost:" + other}, TLS: TLS{CAFile: a.file}}))
	})
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	a, clients := newAuthority(t), newAuthority(t)
	server := secured(t, a, "acme.test", clients)
	cfg := Config{Names: []string{server.Addr}, TLS: TLS{CAFile: a.file, ServerName: "acme.test"}}
	awaitTrouble(t, watched(t, cfg), ErrUnreachable, "certificate required")
	cfg.TLS.CertFile, cfg.TLS.KeyFile = clients.issue(t, "worker")
	target := watched(t, cfg)
	awaitReady(t, target)
	_, _, err := call(t, target)
	require.NoError(t, err)
}

func TestACertificateThatIsReplacedIsShownNext(t *testing.T) {
	t.Parallel()
	a, old, next := newAuthority(t), newAuthority(t), newAuthority(t)
	server := secured(t, a, "acme.test", next)
	cfg := Config{Names: []string{server.Addr}, TLS: TLS{CAFile: a.file, ServerName: "acme.test"}}
	cfg.TLS.CertFile, cfg.TLS.KeyFile = old.issue(t, "worker")
	target := watched(t, cfg)
	awaitTrouble(t, target, ErrUnreachable, "unknown certificate authority")
	cert, key := next.issue(t, "worker")
	require.NoError(t, os.Rename(key, cfg.TLS.KeyFile))
	require.NoError(t, os.Rename(cert, cfg.TLS.CertFile))
	awaitReady(t, target)
}
