"""The Docker engine of Skaffold's Docker deployer: its address and its containers."""
