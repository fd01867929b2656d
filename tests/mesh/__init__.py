"""`make mesh`: our manifests on a real kube-apiserver and istiod, and a real Envoy."""
