"""Who acts, and what they may see and do."""
