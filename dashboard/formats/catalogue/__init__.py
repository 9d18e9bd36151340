"""One file a number format, or a family of them; each registers what it defines."""
