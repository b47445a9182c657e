"""Where chromaseal is started from."""
