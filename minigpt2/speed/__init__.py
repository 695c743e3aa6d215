"""What makes GPT-2 fast and changes numbers only by rounding: x @ w for `product`, `forward` for
`prefill` and `generate_tokens` for `generate_with_guesses` do the same."""
