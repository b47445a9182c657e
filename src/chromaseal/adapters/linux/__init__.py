"""Linux: who has which file open, from /proc."""
