"""Connections beside stalled, reset, refused and aborted ones, in random order: each delivers every byte."""
