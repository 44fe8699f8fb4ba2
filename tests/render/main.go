// Renders deploy/ as kustomize and Helm do, with their own code: `render kustomize FOLDER`, `render helm CHART NAMESPACE`
// with values as YAML on standard input. Writes the objects as a JSON array. Never talks to a cluster.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"sort"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func main() {
	objects, err := render(os.Args[1:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(objects)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func render(words []string) ([]any, error) {
	switch {
	case len(words) == 2 && words[0] == "kustomize":
		return kustomize(words[1])
	case len(words) == 3 && words[0] == "helm":
		values, err := io.ReadAll(os.Stdin)
		if err != nil {
			return nil, err
		}
		return helm(words[1], words[2], values)
	}
	return nil, errors.New("usage: render kustomize FOLDER | render helm CHART NAMESPACE < VALUES")
}

func kustomize(folder string) ([]any, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, err
	}
	var objects []any
	for _, resource := range resources.Resources() {
		object, err := resource.Map()
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// helm is `helm template understudy CHART --namespace NAMESPACE`: the values checked against the chart's schema, hooks included.
func helm(folder, namespace string, text []byte) ([]any, error) {
	chart, err := loader.Load(folder)
	if err != nil {
		return nil, err
	}
	if err := chart.Validate(); err != nil {
		return nil, err
	}
	given, err := chartutil.ReadValues(text)
	if err != nil {
		return nil, err
	}
	options := chartutil.ReleaseOptions{Name: "understudy", Namespace: namespace, Revision: 1, IsInstall: true}
	values, err := chartutil.ToRenderValues(chart, given, options, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.Render(chart, values)
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range files {
		if path.Ext(name) == ".yaml" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var objects []any
	for _, name := range names {
		for _, document := range separator.Split(files[name], -1) {
			var object map[string]any
			if err := yaml.UnmarshalStrict([]byte(document), &object); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if object != nil {
				objects = append(objects, object)
			}
		}
	}
	return objects, nil
}

var separator = regexp.MustCompile(`(?m)^---$`)
