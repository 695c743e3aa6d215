"""What happens in a terminal. Nothing outside imports from here, but for the doors."""
