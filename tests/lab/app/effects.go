// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const longestDelay = 30 * time.Second

// effects is what a request asks of its answer.
type effects struct {
	status int
	delay  time.Duration
}

// parse reads effects from a URL: /status/503, /delay/200ms, both one after
// the other, or the query parameters status and delay on any path. Statuses
// are 200 to 599, delays 0 to longestDelay.
func parse(address *url.URL) (effects, error) {
	found := effects{status: 200}
	words := strings.Split(strings.Trim(address.Path, "/"), "/")
	for len(words) >= 2 && (words[0] == "status" || words[0] == "delay") {
		if err := found.set(words[0], words[1]); err != nil {
			return found, err
		}
		words = words[2:]
	}
	for _, name := range []string{"status", "delay"} {
		if value := address.Query().Get(name); value != "" {
			if err := found.set(name, value); err != nil {
				return found, err
			}
		}
	}
	return found, nil
}

func (e *effects) set(name, value string) error {
	if name == "status" {
		status, err := strconv.Atoi(value)
		if err != nil || status < 200 || status > 599 {
			return fmt.Errorf("status %q: expected a number from 200 to 599", value)
		}
		e.status = status
		return nil
	}
	delay, err := time.ParseDuration(value)
	if err != nil || delay < 0 || delay > longestDelay {
		return fmt.Errorf("delay %q: expected a duration up to %s, for instance 200ms", value, longestDelay)
	}
	e.delay = delay
	return nil
}
