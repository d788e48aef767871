"""One test for each promise of docs/threat-model.md."""
