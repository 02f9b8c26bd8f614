// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCaller(t *testing.T) {
	for header, expected := range map[string]string{
		"": "",
		"By=spiffe://east.mesh/ns/a/sa/b;Hash=1f;Subject=\"\";URI=spiffe://west.mesh/ns/c/sa/d": "spiffe://west.mesh/ns/c/sa/d",
		"URI=spiffe://one,Hash=2;URI=spiffe://two":                                              "spiffe://two",
		"URI=spiffe://one,Hash=2":                                                               "",
		`Subject="O=a,URI=spiffe://forged;CN=\",URI=x";URI="spiffe://real"`:                     "spiffe://real",
		"uri=spiffe://case; DNS=a":                                                              "spiffe://case",
		`Subject="open,URI=spiffe://forged`:                                                     "",
	} {
		if found := caller(header); found != expected {
			t.Errorf("caller(%q) = %q, expected %q", header, found, expected)
		}
	}
}

func TestEffects(t *testing.T) {
	for address, expected := range map[string]effects{
		"/":                            {200, 0},
		"/anything?status=404":         {404, 0},
		"/status/503":                  {503, 0},
		"/delay/200ms/status/201":      {201, 200 * time.Millisecond},
		"/status/500?delay=1s":         {500, time.Second},
		"/other/status/503":            {200, 0},
		"/status/503/other/delay/10ms": {503, 0},
	} {
		found, err := parse(must(url.Parse(address)))
		if err != nil || found != expected {
			t.Errorf("parse(%s) = %v, %v, expected %v", address, found, err, expected)
		}
	}
	for _, address := range []string{"/status/99", "/status/x", "/delay/1h", "/delay/-1s", "/?status=600", "/?delay=5"} {
		if _, err := parse(must(url.Parse(address))); err == nil {
			t.Errorf("parse(%s) was not refused", address)
		}
	}
}

func TestEcho(t *testing.T) {
	for sent, expected := range map[string]string{"": "hello\n", "one\ntwo\n": "hello\none\ntwo\n"} {
		listener := must(net.Listen("tcp", "127.0.0.1:0"))
		go func() { _ = echo(listener, "hello\n") }()
		connection := must(net.Dial("tcp", listener.Addr().String()))
		_, _ = connection.Write([]byte(sent))
		_ = connection.(*net.TCPConn).CloseWrite()
		if found := string(must(io.ReadAll(connection))); found != expected {
			t.Errorf("sent %q, got %q, expected %q", sent, found, expected)
		}
		listener.Close()
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestTLSConfig(t *testing.T) {
	own := must(tlsConfig(""))
	if len(own.Certificates) != 1 || own.ClientAuth != tls.NoClientCert {
		t.Errorf("without a folder: %d certificates, client authentication %v", len(own.Certificates), own.ClientAuth)
	}
	folder := t.TempDir()
	if _, err := tlsConfig(folder); err == nil {
		t.Error("an empty folder was not refused")
	}
	write := func(name, kind string, raw []byte) {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw := own.Certificates[0].Certificate[0]
	write("tls.crt", "CERTIFICATE", raw)
	write("tls.key", "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(own.Certificates[0].PrivateKey)))
	if found := must(tlsConfig(folder)); found.ClientAuth != tls.NoClientCert {
		t.Errorf("without ca.crt: client authentication %v", found.ClientAuth)
	}
	write("ca.crt", "CERTIFICATE", raw)
	if found := must(tlsConfig(folder)); found.ClientAuth != tls.RequireAndVerifyClientCert || found.ClientCAs == nil {
		t.Errorf("with ca.crt: client authentication %v", found.ClientAuth)
	}
	write("ca.crt", "NOTHING", raw)
	if _, err := tlsConfig(folder); err == nil {
		t.Error("a ca.crt without certificate was not refused")
	}
}
