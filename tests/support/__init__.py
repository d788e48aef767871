"""Helpers for tests with real clusters: a portside process, a prober, Kubernetes objects to forward to."""
