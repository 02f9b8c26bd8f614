// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"io"
	"net"
)

// echo sends every connection's bytes back. The greeting, if there is one,
// comes once the client has sent something or has closed its side: a server
// that speaks first would defeat protocol detection on the way.
func echo(listener net.Listener, greeting string) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			buffer := make([]byte, 4096)
			count, err := connection.Read(buffer)
			if err != nil && err != io.EOF {
				return
			}
			if _, err := connection.Write(append([]byte(greeting), buffer[:count]...)); err == nil {
				_, _ = io.Copy(connection, connection)
			}
		}()
	}
}
