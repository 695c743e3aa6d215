"""One forward pass → a web page."""
