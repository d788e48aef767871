"""Every question whose answer differs between Linux, macOS and Windows; no other module asks which platform it runs on.

The package is below all others and knows nothing of forwards. `tests/system` checks that the questions stay here.
"""
