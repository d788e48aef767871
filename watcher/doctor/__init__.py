"""Checks of everything that portside stands on, each a small function from what is there to frozen findings."""
