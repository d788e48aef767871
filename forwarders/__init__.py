"""Moves bytes: local listeners, sessions to pods, what runs between. Knows nothing of Skaffold, modes or YAML."""
