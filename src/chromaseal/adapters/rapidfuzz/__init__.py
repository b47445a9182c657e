"""RapidFuzz: fuzzy comparison of texts."""
