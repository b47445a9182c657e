"""What the program does, told to whoever watches: steps, operations and events."""
