"""What `scripts/fuzz` runs, held to work. What it finds is kept as a malformed case in tests/wire."""
