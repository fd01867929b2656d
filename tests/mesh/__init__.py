"""`make mesh`: our manifests on a real kube-apiserver."""
