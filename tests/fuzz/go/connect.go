// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// atOnce is how many connections are made at the same time.
const atOnce = 4

// connection is one handshake with a server that wants a certificate and sends back what it gets.
type connection struct {
	Socket string `json:"socket"` // path of the server
	Chain  []byte `json:"chain"`  // what to present, PEM, leaf first
	Roots  []byte `json:"roots"`  // what the server's certificate has to lead to, PEM
	Now    int64  `json:"now"`    // seconds since 1970
}

// outcome is what became of a connection.
type outcome struct {
	Accepted bool   `json:"accepted"`
	Reason   string `json:"reason"` // what the server's alert says, if it refused
	Fault    string `json:"fault"`  // what else went wrong: then nothing is known
}

func connectAll(wanted []connection, key *ecdsa.PrivateKey) []outcome {
	outcomes := make([]outcome, len(wanted))
	slots := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for index, one := range wanted {
		slots <- struct{}{}
		running.Go(func() {
			outcomes[index] = connect(one, key)
			<-slots
		})
	}
	running.Wait()
	return outcomes
}

func connect(wanted connection, key *ecdsa.PrivateKey) outcome {
	plain, err := net.DialTimeout("unix", wanted.Socket, 10*time.Second)
	if err != nil {
		return outcome{Fault: err.Error()}
	}
	defer plain.Close()
	if err := plain.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return outcome{Fault: err.Error()}
	}
	client := tls.Client(plain, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: raw(wanted.Chain), PrivateKey: key}},
		MinVersion:   tls.VersionTLS12,
		// The server has an identity, but no name: verified below.
		InsecureSkipVerify: true,
		VerifyPeerCertificate: func(presented [][]byte, _ [][]*x509.Certificate) error {
			var chain []byte
			for _, certificate := range presented[1:] {
				chain = append(chain, encode(certificate)...)
			}
			return verify(presented[0], chain, wanted.Roots, "", time.Unix(wanted.Now, 0))
		},
	})
	if err := client.Handshake(); err != nil && !refused(err) {
		return outcome{Fault: err.Error()}
	}
	// In TLS 1.3 a client learns that it was refused only when it reads; then writing may have failed already.
	_, writing := client.Write([]byte{'?'})
	if _, err := client.Read(make([]byte, 1)); refused(err) {
		return outcome{Reason: err.Error()}
	} else if err != nil {
		return outcome{Fault: fmt.Sprintf("%v (reading), %v (writing)", err, writing)}
	}
	return outcome{Accepted: true}
}

// refused reports whether an error is an alert of the server.
func refused(err error) bool {
	var remote *net.OpError
	return errors.As(err, &remote) && remote.Op == "remote error"
}

func raw(file []byte) [][]byte {
	var found [][]byte
	for _, block := range decode(file) {
		found = append(found, block.Bytes)
	}
	return found
}
