// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"io"
	"net"
	"net/url"
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
