"""Moves bytes: local listeners, sessions to pods, what runs between. Knows nothing of Skaffold, modes or YAML."""

# The defaults of how connections wait; `spec.ForwardSpec` explains each. Here, so that --help imports nothing else.
HOLD, MAX_WAITING, LINGER, PATIENCE = 30.0, 2048, 10.0, 5.0
