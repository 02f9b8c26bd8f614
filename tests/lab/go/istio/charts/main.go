// SPDX-FileCopyrightText: the multimesh.istio authors
// SPDX-License-Identifier: GPL-3.0-or-later

// Charts writes the Helm charts embedded in Istio to a folder and stamps them
// as a release does: chart version, image hub and image tag.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"istio.io/istio/manifests"
)

// The charts by the names that Istio publishes them under.
var charts = map[string]string{
	"base":    "charts/base",
	"default": "charts/default",
	"gateway": "charts/gateway",
	"istiod":  "charts/istio-control/istio-discovery",
}

var (
	chartVersion = regexp.MustCompile(`(?m)^(version|appVersion): 1\.0\.0$`)
	imageHub     = regexp.MustCompile(`(?m)^( +)hub: registry\.istio\.io/testing$`)
	imageTag     = regexp.MustCompile(`(?m)^( +)tag: latest$`)
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: charts <folder> <version> <image hub>")
		os.Exit(2)
	}
	for name, source := range charts {
		if err := write(source, filepath.Join(os.Args[1], name), os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "charts:", err)
			os.Exit(1)
		}
	}
}

func write(source, target, version, hub string) error {
	return fs.WalkDir(manifests.FS, source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		file := filepath.Join(target, relative)
		if entry.IsDir() {
			return os.MkdirAll(file, 0o755)
		}
		data, err := manifests.FS.ReadFile(path)
		if err != nil {
			return err
		}
		switch relative {
		case "Chart.yaml":
			data = chartVersion.ReplaceAll(data, []byte("${1}: "+version))
		case "values.yaml":
			data = imageHub.ReplaceAll(data, []byte("${1}hub: "+hub))
			data = imageTag.ReplaceAll(data, []byte("${1}tag: "+version))
		}
		return os.WriteFile(file, data, 0o644)
	})
}
