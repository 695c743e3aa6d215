"""Loss → gradient → better weights."""
