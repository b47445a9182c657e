"""What AWS's services have in common."""
