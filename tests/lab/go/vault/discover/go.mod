// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

module github.com/hashicorp/go-discover

go 1.26.0
