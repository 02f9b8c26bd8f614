// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

// Package k8s stands in for the provider of Kubernetes.
package k8s

// Provider asks Kubernetes.
type Provider struct{}
