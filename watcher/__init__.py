"""Decides which forwards there should be, from Skaffold's events, the configuration and the cluster."""
