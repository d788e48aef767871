"""The commands of portside: options, exit codes, and the objects that a command builds and runs."""
