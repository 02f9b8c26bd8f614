// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

// Go's opinion of CA bundles, with nothing but the standard library.
module multimesh.istio/fuzz

go 1.26.0
