"""The status address: what people and programs may ask over HTTP. Reads the board, changes nothing."""
