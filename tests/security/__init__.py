"""What docs/threat-model.md promises, each promise by a test."""
