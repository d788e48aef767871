"""The launcher of the `portside` command."""
