"""A template, a package of code, and what is deployed: what they have to be."""
