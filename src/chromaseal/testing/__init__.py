"""What users of the interfaces can test their own implementations with."""
