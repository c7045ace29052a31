#!/usr/bin/env bash
# Renders the kustomize base, the monitoring component and the KEDA objects from the Helm chart: one source, two ways.
# HELM is the helm to use. `make manifests` runs this; tests/deploy tell if it was forgotten.
set -euo pipefail
cd "$(dirname "$0")"
helm="${HELM:-helm}"
target="${1:-.}"
chart=../helm/jambonz-cluster

render() { "$helm" template jambonz "$chart" "$@"; }

head_lines="# Rendered from deploy/helm by deploy/kubernetes/render.sh: change that, not this."
mkdir -p "$target/base" "$target/components/monitoring" "$target/overlays/keda" "$target/overlays/single-redis"
{ echo "$head_lines"; render; } >"$target/base/cluster.yaml"
{ echo "$head_lines"; render --set serviceMonitor.enabled=true --show-only templates/monitoring.yaml; } \
    >"$target/components/monitoring/monitors.yaml"
{ echo "$head_lines"; render --set keda.enabled=true --show-only templates/keda.yaml; } >"$target/overlays/keda/keda.yaml"
# kustomize reads no file outside its folder.
cp ../redis/start.sh "$target/overlays/single-redis/start.sh"
