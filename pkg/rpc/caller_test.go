package rpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
)

// signed makes a certificate for a subject, vouched for by the one given, or by itself.
func signed(t *testing.T, subject pkix.Name, by *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: subject, DNSNames: []string{"warren.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: by == nil, BasicConstraintsValid: by == nil, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey.(*ecdsa.PrivateKey)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// callerOf has a client call a server over TCP, and gives what the server makes of it.
func callerOf(t *testing.T, server, client credentials.TransportCredentials) (name, address, local string) {
	t.Helper()
	s := grpc.NewServer(grpc.Creds(server))
	taskv1.RegisterTaskServiceServer(s, &service{do: func(ctx context.Context) error {
		name, address = rpc.Caller(ctx)
		return nil
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(client),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err == nil {
				local = c.LocalAddr().String()
			}
			return c, err
		}))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = taskv1.NewTaskServiceClient(conn).GetTask(ctx, &taskv1.GetTaskRequest{TaskId: id})
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	s.Stop()
	require.NoError(t, <-served)
	return name, address, local
}

func TestCaller(t *testing.T) {
	t.Parallel()
	authority := signed(t, pkix.Name{CommonName: "authority"}, nil)
	own := signed(t, pkix.Name{CommonName: "server"}, authority)
	ann := signed(t, pkix.Name{CommonName: "ann", Organization: []string{"acme"}}, authority)
	nobody := signed(t, pkix.Name{}, authority)
	pool := x509.NewCertPool()
	pool.AddCert(authority.Leaf)
	over := func(clients tls.ClientAuthType) credentials.TransportCredentials {
		return credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{*own}, ClientAuth: clients, ClientCAs: pool, MinVersion: tls.VersionTLS12})
	}
	with := func(certificates ...*tls.Certificate) credentials.TransportCredentials {
		c := &tls.Config{RootCAs: pool, ServerName: "warren.test", MinVersion: tls.VersionTLS12}
		for _, certificate := range certificates {
			c.Certificates = append(c.Certificates, *certificate)
		}
		return credentials.NewTLS(c)
	}
	for what, c := range map[string]struct {
		server, client credentials.TransportCredentials
		name           string
	}{
		"plain text":                          {insecure.NewCredentials(), insecure.NewCredentials(), rpc.Unauthenticated},
		"TLS, no certificate":                 {over(tls.VerifyClientCertIfGiven), with(), rpc.Unauthenticated},
		"a certificate":                       {over(tls.RequireAndVerifyClientCert), with(ann), "CN=ann,O=acme"},
		"a certificate that nobody checked":   {over(tls.RequestClientCert), with(ann), rpc.Unauthenticated},
		"a certificate that does not say who": {over(tls.RequireAndVerifyClientCert), with(nobody), rpc.Unauthenticated},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			name, address, local := callerOf(t, c.server, c.client)
			require.Equal(t, c.name, name)
			require.Equal(t, local, address)
		})
	}
	name, address := rpc.Caller(t.Context())
	require.Equal(t, rpc.Unauthenticated, name)
	require.Empty(t, address)
}
