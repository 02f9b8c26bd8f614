// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

// Program fuzz says what Go makes of CA bundles: as istiod, which loads them and signs with them, and as a peer.
// It reads one request per line from its standard input and answers each with a line, both JSON.
package main

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"
)

// request asks for one thing: to judge a bundle, or to make connections.
type request struct {
	Judge   *judgement   `json:"judge"`
	Connect []connection `json:"connect"`
}

// judgement is a bundle and the identities that are tried with it.
type judgement struct {
	Files      map[string][]byte `json:"files"`
	Federation []byte            `json:"federation"` // the roots that peers trust, PEM
	Now        int64             `json:"now"`        // seconds since 1970
	Leaves     []identity        `json:"leaves"`
}

// identity is what a certificate of a workload, or of istiod, is issued for.
type identity struct {
	URI string `json:"uri"`
	DNS string `json:"dns"`
}

// opinion is the answer to a judgement.
type opinion struct {
	Load   string `json:"load"`   // why istiod would not load the bundle, empty if it does
	Leaves []leaf `json:"leaves"` // one for each identity, none if it does not load
}

// leaf is a certificate that istiod would issue.
type leaf struct {
	Certificate []byte `json:"certificate"` // PEM; empty if istiod could not sign it
	Refusal     string `json:"refusal"`     // why a peer refuses it, empty if it does not
}

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	output := bufio.NewWriter(os.Stdout)
	decoder, encoder := json.NewDecoder(input), json.NewEncoder(output)
	var start struct {
		LeafKey []byte `json:"leafKey"` // PKCS#8, for all leaves
	}
	if err := decoder.Decode(&start); err != nil {
		return fmt.Errorf("reading the key: %w", err)
	}
	key, err := parseLeafKey(start.LeafKey)
	if err != nil {
		return err
	}
	for decoder.More() {
		var asked request
		if err := decoder.Decode(&asked); err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		if err := encoder.Encode(answer(asked, key)); err != nil {
			return err
		}
		if err := output.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func answer(asked request, key *ecdsa.PrivateKey) any {
	if asked.Judge == nil {
		return connectAll(asked.Connect, key)
	}
	now := time.Unix(asked.Judge.Now, 0)
	ca, err := load(asked.Judge.Files, now)
	if err != nil {
		return opinion{Load: err.Error()}
	}
	said := opinion{}
	for _, wanted := range asked.Judge.Leaves {
		said.Leaves = append(said.Leaves, try(ca, wanted, key.Public(), asked.Judge.Federation, now))
	}
	return said
}

// try issues a certificate and has it verified by peers: of the own mesh, and of others.
func try(ca authority, wanted identity, key crypto.PublicKey, federation []byte, now time.Time) leaf {
	certificate, err := ca.issue(wanted, key, now)
	if err != nil {
		return leaf{Refusal: "istiod cannot sign: " + err.Error()}
	}
	made := leaf{Certificate: encode(certificate)}
	for _, roots := range [][]byte{ca.roots, federation} {
		if err := verify(certificate, ca.chain, roots, wanted.DNS, now); err != nil {
			made.Refusal = err.Error()
		}
	}
	return made
}
