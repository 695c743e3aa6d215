"""What makes GPT-2 fast and changes no number: delete it, write x @ w, and it works."""
