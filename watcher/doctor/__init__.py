"""The checks of `portside doctor`: each is a function that looks at one thing and returns findings."""
