"""Producers of the lines that docs/troubleshooting.md quotes: each makes the code print one."""
