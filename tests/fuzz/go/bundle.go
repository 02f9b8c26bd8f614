// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// authority is a CA as istiod holds it.
type authority struct {
	certificate  *x509.Certificate
	key          crypto.PrivateKey
	chain, roots []byte // PEM
}

// load does what istiod does with the Secret cacerts (istio/istio: security/pkg/pki/util/keycertbundle.go and
// security/pkg/pki/ca/ca.go): the certificate verifies through the chain to a root, the key parses and belongs to it, and
// it is a CA.
func load(files map[string][]byte, now time.Time) (authority, error) {
	ca := authority{chain: files["cert-chain.pem"], roots: files["root-cert.pem"]}
	for _, name := range []string{"ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"} {
		if _, there := files[name]; !there {
			return ca, fmt.Errorf("%s is missing", name)
		}
	}
	block, _ := pem.Decode(files["ca-cert.pem"])
	if block == nil {
		return ca, errors.New("ca-cert.pem is no PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return ca, fmt.Errorf("ca-cert.pem: %w", err)
	}
	options := x509.VerifyOptions{Roots: pool(ca.roots), Intermediates: pool(ca.chain), CurrentTime: now}
	if _, err := certificate.Verify(options); err != nil {
		return ca, fmt.Errorf("ca-cert.pem: %w", err)
	}
	if _, err := tls.X509KeyPair(files["ca-cert.pem"], files["ca-key.pem"]); err != nil {
		return ca, fmt.Errorf("ca-key.pem: %w", err)
	}
	key, err := parseKey(files["ca-key.pem"])
	if err != nil {
		return ca, fmt.Errorf("ca-key.pem: %w", err)
	}
	if !certificate.IsCA {
		return ca, errors.New("ca-cert.pem is no CA")
	}
	// The first certificate of the chain limits the life of what is issued.
	if block, _ := pem.Decode(ca.chain); block == nil {
		return ca, errors.New("cert-chain.pem is no PEM")
	} else if first, err := x509.ParseCertificate(block.Bytes); err != nil {
		return ca, fmt.Errorf("cert-chain.pem: %w", err)
	} else if !now.Before(first.NotAfter) {
		return ca, errors.New("cert-chain.pem has expired")
	}
	ca.certificate, ca.key = certificate, key
	if err := everything(ca.chain, ca.roots); err != nil {
		return ca, err
	}
	return ca, revocation(files["ca-crl.pem"], ca.chain)
}

// revocation reports a CA of the chain without a revocation list of its own, where there are lists at all.
func revocation(file, chain []byte) error {
	if len(file) == 0 {
		return nil
	}
	var lists []*x509.RevocationList
	for _, block := range decode(file) {
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return fmt.Errorf("ca-crl.pem: %w", err)
		}
		lists = append(lists, list)
	}
	for _, block := range decode(chain) {
		signer, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("cert-chain.pem: %w", err)
		}
		signed := func(list *x509.RevocationList) bool { return list.CheckSignatureFrom(signer) == nil }
		if !slices.ContainsFunc(lists, signed) {
			return fmt.Errorf("ca-crl.pem: no list of %s", signer.Subject)
		}
	}
	return nil
}

// everything reports what the certificate pools of Go pass over in silence.
func everything(files ...[]byte) error {
	for _, file := range files {
		for _, block := range decode(file) {
			if block.Type != "CERTIFICATE" {
				return fmt.Errorf("a block %s among the certificates", block.Type)
			}
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return err
			}
		}
	}
	return nil
}

func parseKey(file []byte) (crypto.PrivateKey, error) {
	block, _ := pem.Decode(file)
	if block == nil {
		return nil, errors.New("no PEM")
	}
	switch block.Type {
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	return nil, fmt.Errorf("a block %s is no private key", block.Type)
}

func parseLeafKey(der []byte) (*ecdsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	if key, ok := key.(*ecdsa.PrivateKey); ok {
		return key, nil
	}
	return nil, errors.New("the leaves' key is not ECDSA")
}

// issue signs as istiod does: no subject, a critical alternative name, both directions of TLS, never past the CA.
func (ca authority) issue(wanted identity, key crypto.PublicKey, now time.Time) ([]byte, error) {
	names, err := alternativeNames(wanted)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	ends := now.Add(24 * time.Hour)
	if ca.certificate.NotAfter.Before(ends) {
		ends = ca.certificate.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             now.Add(-2 * time.Minute),
		NotAfter:              ends,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		ExtraExtensions:       []pkix.Extension{names},
	}
	return x509.CreateCertificate(rand.Reader, template, ca.certificate, key, ca.key)
}

// alternativeNames writes the extension by hand: Go's own is critical only by accident of an empty subject.
func alternativeNames(wanted identity) (pkix.Extension, error) {
	names := []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(wanted.URI)}}
	if wanted.DNS != "" {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(wanted.DNS)})
	}
	value, err := asn1.Marshal(names)
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: value}, err
}

// verify is what a peer does with a certificate and the chain it comes with.
func verify(certificate, chain, roots []byte, host string, now time.Time) error {
	parsed, err := x509.ParseCertificate(certificate)
	if err != nil {
		return err
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		options := x509.VerifyOptions{
			Roots:         pool(roots),
			Intermediates: pool(chain),
			CurrentTime:   now,
			DNSName:       host,
			KeyUsages:     []x509.ExtKeyUsage{usage},
		}
		if _, err := parsed.Verify(options); err != nil {
			return err
		}
	}
	return nil
}

func pool(file []byte) *x509.CertPool {
	made := x509.NewCertPool()
	made.AppendCertsFromPEM(file)
	return made
}

// decode gives all blocks of a PEM file.
func decode(file []byte) []*pem.Block {
	var blocks []*pem.Block
	for {
		var block *pem.Block
		if block, file = pem.Decode(file); block == nil {
			return blocks
		}
		blocks = append(blocks, block)
	}
}

func encode(certificate []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
}
