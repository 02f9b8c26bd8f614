// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import "strings"

// caller returns the URI of the last element of an X-Forwarded-Client-Cert
// header: the client that the proxy in front of this program authenticated.
// Elements are separated by commas, their pairs by semicolons; a quoted value
// may hold both, and quotes behind a backslash (Envoy's documentation, HTTP
// header manipulation, x-forwarded-client-cert).
func caller(header string) string {
	elements := split(header, ',')
	for _, pair := range split(elements[len(elements)-1], ';') {
		if key, value, found := strings.Cut(pair, "="); found && strings.EqualFold(strings.TrimSpace(key), "URI") {
			return unquote(strings.TrimSpace(value))
		}
	}
	return ""
}

// split cuts text at every separator outside quotes.
func split(text string, separator byte) []string {
	var parts []string
	begin, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case !quoted && text[i] == separator:
			parts = append(parts, text[begin:i])
			begin = i + 1
		}
	}
	return append(parts, text[begin:])
}

func unquote(value string) string {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return value
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(value[1 : len(value)-1])
}
