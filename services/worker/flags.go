package main

import (
	"log/slog"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/buildinfo"
	"github.com/warrenmq/warren/pkg/cli"
	"github.com/warrenmq/warren/services/worker/internal/service"
	"github.com/warrenmq/warren/services/worker/internal/target"
)

// flags are the worker's.
type flags struct {
	cli.Broker
	cli.Log
	cli.Version

	Target        []string      `help:"gRPC server that carries out the tasks, as any gRPC target name; repeatable as HOST:PORT, among which calls are balanced." sep:" " placeholder:"TARGET" required:""`
	TLS           bool          `name:"tls" help:"Call the target with TLS; so does any other --tls flag."`
	TLSCA         string        `name:"tls-ca" help:"Certificates, in PEM, of who vouches for the target. Default: the system's." placeholder:"FILE"`
	TLSCert       string        `name:"tls-cert" help:"This worker's certificate, in PEM." placeholder:"FILE"`
	TLSKey        string        `name:"tls-key" help:"The certificate's key, in PEM." placeholder:"FILE"`
	TLSServerName string        `name:"tls-server-name" help:"Name in the target's certificate. Default: the target's." placeholder:"NAME"`
	MetadataFile  string        `help:"File with lines KEY: VALUE that go out as metadata with every call, such as authorization; read again when it changes." placeholder:"FILE"`
	Descriptors   string        `help:"Learn the services from a FileDescriptorSet, made by buf build -o or protoc --include_imports --descriptor_set_out, instead of by reflection." placeholder:"FILE"`
	Service       []string      `help:"Full name of a service to forward; repeatable. Default: all of the target's but grpc.*, google.* and warren.*." sep:" " placeholder:"NAME"`
	HealthService string        `help:"Name by which the target is asked for its health; empty is the server as a whole." placeholder:"NAME"`
	Concurrency   int           `help:"Tasks of each type that run at the same time." default:"16"`
	Prefetch      int           `help:"How many more of each type are fetched while these run; 0 is a quarter." default:"0"`
	Grace         time.Duration `help:"How long running tasks may go on after SIGTERM, before they are given back." default:"30s"`
	MetricsListen string        `help:"Address for /healthz, /readyz and /metrics over HTTP; empty is nowhere. OTEL_METRICS_EXPORTER=none or OTEL_SDK_DISABLED=true: no metrics." default:"127.0.0.1:9072" placeholder:"ADDR"`
	Pprof         bool          `help:"Serve Go's profiles at --metrics-listen as /debug/pprof/; they show what is in memory."`
	Insecure      bool          `help:"Allow addresses beyond this machine for --metrics-listen, and for targets that get --metadata-file without TLS."`
}

func (f *flags) config(log *slog.Logger) service.Config {
	version := buildinfo.Version()
	return service.Config{
		Broker: broker.Config{URLs: f.AMQPURL, Namespace: f.Namespace, Name: "warren worker", Logger: log},
		Target: target.Config{
			Names: f.Target, HealthService: f.HealthService, UserAgent: "warren-worker/" + version,
			TLS: target.TLS{Enabled: f.TLS, CAFile: f.TLSCA, CertFile: f.TLSCert, KeyFile: f.TLSKey, ServerName: f.TLSServerName},
		},
		MetadataFile: f.MetadataFile, DescriptorsFile: f.Descriptors, Services: f.Service,
		Concurrency: f.Concurrency, Prefetch: f.Prefetch, Grace: f.Grace,
		MetricsListen: f.MetricsListen, Profiling: f.Pprof, Insecure: f.Insecure, Version: version, Logger: log,
	}
}
