"""One listener that leads to many forwards by the name in a request's Host."""
