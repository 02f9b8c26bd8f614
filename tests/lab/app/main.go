// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

// App is the lab's sample application. It answers with the mesh it runs in,
// the name it was called by and the identity of the caller.
//
//	8080  HTTP/1.1 and HTTP/2 without TLS: JSON; /healthz for probes
//	8081  the same, for a Service port that is declared as TCP
//	8443  the same behind TLS, with a certificate made at start or the one in TLS_DIRECTORY
//	8079  gRPC health service
//	9000  TCP: one line that names mesh, service and pod, then every byte back
//	9001  TCP: every byte back, nothing else
//
// MESH and SERVICE name it, DRAIN (a duration, 3s) is how long it goes on
// serving after SIGTERM while it asks clients to leave. TLS_DIRECTORY holds
// tls.crt and tls.key, and perhaps ca.crt: then clients show a certificate that
// this CA has issued.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// answer is the body of every HTTP answer.
type answer struct {
	Mesh     string `json:"mesh"`
	Service  string `json:"service"`
	Pod      string `json:"pod"`
	Host     string `json:"host"`
	Path     string `json:"path"`
	Method   string `json:"method"`
	Protocol string `json:"protocol"`
	Caller   string `json:"caller"`
	XFCC     string `json:"xfcc"`
	SNI      string `json:"sni,omitempty"`
	Client   string `json:"client,omitempty"`
}

type app struct {
	mesh, service, pod string
	draining           atomic.Bool
}

func main() {
	log.SetFlags(log.LstdFlags | log.LUTC)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	pod, err := os.Hostname()
	if err != nil {
		return err
	}
	drain, err := time.ParseDuration(value("DRAIN", "3s"))
	if err != nil {
		return fmt.Errorf("DRAIN: %w", err)
	}
	served := &app{mesh: os.Getenv("MESH"), service: value("SERVICE", "app"), pod: value("POD_NAME", pod)}

	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler:           served,
		Protocols:         &protocols,
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // probes and sweeps end handshakes half way
	}
	server.TLSConfig, err = tlsConfig(os.Getenv("TLS_DIRECTORY"))
	if err != nil {
		return err
	}
	rpc, state := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(rpc, state)

	failed := make(chan error, 6)
	serve := func(address string, accept func(net.Listener) error) error {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go func() { failed <- accept(listener) }()
		return nil
	}
	if err := errors.Join(
		serve(":8080", server.Serve),
		serve(":8081", server.Serve),
		serve(":8443", func(listener net.Listener) error { return server.ServeTLS(listener, "", "") }),
		serve(":8079", rpc.Serve),
		serve(":9000", func(listener net.Listener) error { return echo(listener, served.line()) }),
		serve(":9001", func(listener net.Listener) error { return echo(listener, "") }),
	); err != nil {
		return err
	}
	log.Printf("serving as %s", served.line())

	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	select {
	case err := <-failed:
		return err
	case <-stop.Done():
	}
	served.draining.Store(true)
	state.Shutdown()
	time.Sleep(drain)
	limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	time.AfterFunc(10*time.Second, rpc.Stop)
	rpc.GracefulStop()
	return server.Shutdown(limit)
}

func (a *app) line() string {
	return fmt.Sprintf("mesh=%s service=%s pod=%s\n", a.mesh, a.service, a.pod)
}

// ServeHTTP answers with what the request looked like from here.
func (a *app) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	if a.draining.Load() {
		response.Header().Set("Connection", "close")
		if request.URL.Path == "/healthz" {
			http.Error(response, "draining", http.StatusServiceUnavailable)
			return
		}
	}
	wanted, err := parse(request.URL)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(wanted.delay):
	case <-request.Context().Done():
		return
	}
	xfcc := strings.Join(request.Header.Values("X-Forwarded-Client-Cert"), ",")
	body := answer{
		Mesh: a.mesh, Service: a.service, Pod: a.pod,
		Host: request.Host, Path: request.URL.Path, Method: request.Method, Protocol: request.Proto,
		Caller: caller(xfcc), XFCC: xfcc,
	}
	if request.TLS != nil {
		body.SNI = request.TLS.ServerName
		if shown := request.TLS.PeerCertificates; len(shown) > 0 {
			body.Client = shown[0].Subject.CommonName
		}
	}
	response.Header().Set("Content-Type", "application/json")
	response.WriteHeader(wanted.status)
	if wanted.status != http.StatusNoContent && wanted.status != http.StatusNotModified {
		_ = json.NewEncoder(response).Encode(body)
	}
}

func value(name, otherwise string) string {
	if found := os.Getenv(name); found != "" {
		return found
	}
	return otherwise
}
