"""Child processes: whatever must be closed, bounded or allowed to die."""
