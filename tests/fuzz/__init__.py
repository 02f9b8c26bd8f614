# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Spoiled CA bundles, and whether the verification says the same of them as Go, OpenSSL and Envoy."""
