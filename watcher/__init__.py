"""Decides: from Skaffold's events, the configuration and the cluster to the list of forwards that should be."""
