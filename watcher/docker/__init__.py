"""The Docker engine that Skaffold's Docker deployer uses: where it is, and which containers there are."""
